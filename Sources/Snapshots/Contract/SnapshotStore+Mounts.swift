internal import Kernel
package import Mounts

/// How snapshots are mounted.
extension SnapshotStore {
    /// The mounts of an active snapshot or a view: the same that `prepare` or `view` has returned.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` for a committed snapshot, `.unavailable` for an unfinished one.
    package func mounts(of key: String) throws(StoreFailure) -> [Mount] {
        try mounts { transaction in
            let row = try transaction.existing(key)
            guard row.kind != .committed else {
                throw StoreFailure(
                    .failedPrecondition, "the snapshot '\(key)' is committed", hint: "make a view of it")
            }
            return row
        }
    }

    /// As `mounts`, for a client that calls mount(2) once for each of them.
    func mountsForClient(of key: String) throws(StoreFailure) -> [Mount] {
        try backend.mountsForClient(try mounts(of: key))
    }

    /// The read-only mounts of a committed snapshot, as a view of it has them. They never change.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` for a snapshot that is not committed.
    package func readOnlyMounts(of name: String) throws(StoreFailure) -> [Mount] {
        try mounts { transaction in
            let row = try transaction.existing(name)
            try row.refuseUncommitted()
            return row
        }
    }

    private func mounts(of find: (StoreTransaction) throws -> SnapshotRow) throws(StoreFailure) -> [Mount] {
        let (row, chain) = try database.read { transaction in
            let row = try find(transaction)
            try row.refuseUnfinished()
            return (row, try transaction.ancestry(of: row.id))
        }
        return try backend.mounts(
            SnapshotStack(of: row.kind, id: row.id, parents: Array(chain.dropFirst())))
    }
}

/// The snapshots that are mounted on each other, by ID.
enum SnapshotStack: Sendable, Equatable {
    /// An active snapshot on committed ones, nearest first.
    case writable(Int64, parents: [Int64])
    /// At least one committed snapshot, topmost first.
    case readOnly([Int64])
    /// A view without a parent.
    case empty(Int64)

    /// - Parameter parents: nearest first.
    init(of kind: SnapshotInfo.Kind, id: Int64, parents: [Int64]) {
        switch kind {
        case .active: self = .writable(id, parents: parents)
        // A view with a parent has no tree of its own.
        case .view: self = parents.isEmpty ? .empty(id) : .readOnly(parents)
        case .committed: self = .readOnly([id] + parents)
        }
    }

    /// The topmost snapshot, whose tree holds everything with a full-copy backend.
    var top: Int64? {
        switch self {
        case .writable(let id, _), .empty(let id): id
        case .readOnly(let ids): ids.first
        }
    }

    var isReadOnly: Bool {
        switch self {
        case .writable: false
        case .readOnly, .empty: true
        }
    }
}
