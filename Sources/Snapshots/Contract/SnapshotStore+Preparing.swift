internal import Kernel
package import Mounts
internal import OCI
internal import SystemPackage

/// A snapshot to be made.
struct NewSnapshot {
    let kind: SnapshotInfo.Kind
    let key: String
    var parent: SnapshotReference?
    var labels: [String: String] = [:]
    /// The owner once it is made; until then it belongs to a run.
    var owner: Owner = .user
    /// Whether its mounts are for a client that calls mount(2) once for each of them.
    var isForClient = false
    /// A chain whose verified snapshot the owner, a service, adopts if it exists; nothing is made then.
    var adoptableChain: ChainID?

    var purpose: SnapshotPurpose {
        if kind == .view { return .view }
        return owner == .images ? .layer : .changes
    }
}

/// A snapshot that was made, with what its mounts need.
struct MadeSnapshot {
    let id: Int64
    let key: String
    let kind: SnapshotInfo.Kind
    /// Nearest first.
    let parents: [Int64]
}

/// The calls that make snapshots, and the one that changes their labels.
///
/// Slow work (copying, measuring or deleting a tree) happens outside of transactions. Until it is done the row names
/// the run that does it, so that the next run removes the snapshot after a crash.
extension SnapshotStore {
    /// Makes a writable snapshot.
    ///
    /// - Parameters:
    ///   - parent: the name of a committed snapshot; nil for an empty tree.
    ///   - owner: the owner once it is made.
    ///   - shouldContinue: polled while the parent is copied, and last before the snapshot is published. If it returns
    ///     false, no snapshot is made.
    /// - Returns: its mounts.
    /// - Throws: `.notFound` and `.invalidArgument` for the parent, `.alreadyExists`, `.invalidArgument` for a label,
    ///   `.unavailable`, `.system`; `.cancelled` if it is not wanted.
    @discardableResult
    package func prepare(
        _ key: String, parent: String? = nil, labels: [String: String] = [:], owner: Owner = .user,
        in run: Run, shouldContinue: () -> Bool = { true }
    ) throws(StoreFailure) -> [Mount] {
        let parent = parent.map { SnapshotReference.name($0) }
        let new = NewSnapshot(kind: .active, key: key, parent: parent, labels: labels, owner: owner)
        return try publish(new, in: run, shouldContinue: shouldContinue)
    }

    /// Makes a read-only snapshot of a committed one or of nothing. Otherwise as `prepare`.
    @discardableResult
    package func view(
        _ key: String, parent: String? = nil, labels: [String: String] = [:], owner: Owner = .user,
        in run: Run, shouldContinue: () -> Bool = { true }
    ) throws(StoreFailure) -> [Mount] {
        let parent = parent.map { SnapshotReference.name($0) }
        let new = NewSnapshot(kind: .view, key: key, parent: parent, labels: labels, owner: owner)
        return try publish(new, in: run, shouldContinue: shouldContinue)
    }

    /// Refuses a store whose layers have whiteouts in the form of attributes: such layers can be lower layers of an
    /// overlay mount, and not its upper layer (kernel: overlayfs.rst, "Nesting overlayfs mounts").
    private func refuseReadOnlyStore(_ form: WhiteoutForm) throws(StoreFailure) {
        guard content.isLayer, form == .attribute else { return }
        throw StoreFailure(
            .unavailable,
            "the store \(escaped(root)) lies on an overlay file system: nothing in it can be mounted writable",
            hint: "put the store on ext4, xfs, btrfs or tmpfs with --root DIR")
    }

    /// Makes a snapshot that the unpacker writes a layer into. It belongs to the run until it is committed.
    ///
    /// - Parameters:
    ///   - parent: nil for the lowest layer; may also be nil if `content.isLayer`, and be given to the commit.
    ///   - shouldContinue: polled while the parent is copied.
    package func prepareLayer(
        _ key: String, parent: String?, in run: Run, shouldContinue: () -> Bool = { true }
    ) throws(StoreFailure) -> ActiveSnapshot {
        let parent = parent.map { SnapshotReference.name($0) }
        let new = NewSnapshot(kind: .active, key: key, parent: parent, owner: .images)
        let made = try make(new, in: run, shouldContinue: shouldContinue)
        do throws(SyscallFailure) {
            return ActiveSnapshot(
                made, tree: try backend.open(made.id, isWritable: true),
                committedTree: type(of: backend).committedTree)
        } catch {
            discard(made.id)
            throw StoreFailure(error, "cannot open the snapshot '\(key)'")
        }
    }

    /// Makes a snapshot, and transfers it from its run to its owner.
    ///
    /// Takes two transactions: one inserts the row, the other publishes it. The second one queries nothing that the
    /// first one has read or written.
    ///
    /// - Returns: its mounts.
    /// - Throws: as `prepare`; `.alreadyExists` after an adoption.
    func publish(
        _ new: NewSnapshot, in run: Run, shouldContinue: () -> Bool
    ) throws(StoreFailure) -> [Mount] {
        let made = try make(new, in: run, shouldContinue: shouldContinue)
        do throws(StoreFailure) {
            try attempting("cannot write the snapshot '\(made.key)' to disk") { () throws(SyscallFailure) in
                try backend.persist(made.id)
            }
            var mounts = try backend.mounts(
                SnapshotStack(of: made.kind, id: made.id, parents: made.parents))
            if new.isForClient { mounts = try backend.mountsForClient(mounts) }
            if !shouldContinue() { throw Self.unwanted(made.key) }
            try database.write(.durable) { try $0.publish(made.id) }
            return mounts
        } catch {
            discard(made.id)
            throw error
        }
    }

    private static func unwanted(_ key: String) -> StoreFailure {
        StoreFailure(.cancelled, "cannot make the snapshot '\(key)': it is not wanted any more")
    }

    /// Makes a snapshot that belongs to a run.
    private func make(
        _ new: NewSnapshot, in run: Run, shouldContinue: () -> Bool
    ) throws(StoreFailure) -> MadeSnapshot {
        switch try insert(new, in: run) {
        case .inserted(let made):
            do {
                try backend.make(made.id, for: new.purpose, on: made.parents.first) {
                    if !shouldContinue() { throw Self.unwanted(made.key) }
                }
            } catch {
                discard(made.id)
                throw StoreFailure(error, "cannot make the snapshot '\(new.key)'")
            }
            return made
        case .adoptable(let layer):
            if try adopt(layer, for: new.owner) {
                throw StoreFailure(.alreadyExists, "the layer is there already: '\(layer.row.name)'")
            }
            // Another process has removed the layer meanwhile.
            var own = new
            own.adoptableChain = nil
            return try make(own, in: run, shouldContinue: shouldContinue)
        }
    }

    private enum Insertion {
        case inserted(MadeSnapshot)
        case adoptable(AdoptableLayer)
    }

    /// Inserts the row of a snapshot that belongs to a run, and makes its empty directory.
    private func insert(_ new: NewSnapshot, in run: Run) throws(StoreFailure) -> Insertion {
        let labels = try SnapshotLabels.stored(of: new.labels)
        // Also checks that the backend works here at all.
        let form = try whiteoutForm()
        return try database.write { transaction in
            let parent = try new.parent.map { try transaction.parent($0, orElse: .invalidArgument) }
            if let chain = new.adoptableChain,
                let layer = try transaction.adoptable(chain, on: parent?.id, for: new.owner)
            {
                return .adoptable(layer)
            }
            if new.purpose == .changes, parent != nil { try self.refuseReadOnlyStore(form) }
            try transaction.refuseTaken(new.key, noun: "key")
            let id = try transaction.insert(new, on: parent?.id, in: run, created: self.clock())
            try transaction.setLabels(labels, of: id)
            try self.trash.makeDirectory(of: id)
            let parents = try parent.map { try transaction.ancestry(of: $0.id) } ?? []
            return .inserted(MadeSnapshot(id: id, key: new.key, kind: new.kind, parents: parents))
        }
    }

    // MARK: Labels

    /// Changes labels, and nothing else.
    ///
    /// - Parameters:
    ///   - labels: the new values.
    ///   - fields: `labels` or nothing for all labels, `labels.KEY` for that one: set, or deleted if `labels` lacks it.
    /// - Throws: `.notFound`, `.invalidArgument` for other fields and for labels that are too long.
    @discardableResult
    package func update(
        _ name: String, labels: [String: String], fields: [String] = []
    ) throws(StoreFailure) -> SnapshotInfo {
        try database.write { transaction in
            let id = try transaction.existing(name).id
            let current = try transaction.labels(of: id)
            try transaction.setLabels(
                try SnapshotLabels.updating(current, to: labels, fields: fields), of: id)
            try transaction.setUpdated(self.clock(), of: id)
            return try transaction.info(transaction.existing(name))
        }
    }
}
