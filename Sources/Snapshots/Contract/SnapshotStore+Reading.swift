internal import Kernel
package import OCI
internal import RegularExpressions
package import SystemPackage

/// Calls that only read, but for `usage`, which records what it has measured.
extension SnapshotStore {
    /// - Throws: `.notFound`.
    package func stat(_ name: String) throws(StoreFailure) -> SnapshotInfo {
        try database.read { try $0.info($0.existing(name)) }
    }

    /// As `stat`; nil if the snapshot does not exist.
    package func find(_ name: String) throws(StoreFailure) -> SnapshotInfo? {
        try database.read { transaction in try transaction.snapshot(named: name).map(transaction.info) }
    }

    /// The snapshot that holds a chain of which this program has verified every byte, and which is on the disk or was
    /// committed in this boot.
    package func verified(_ chain: ChainID) throws(StoreFailure) -> SnapshotInfo? {
        try database.read { transaction in try transaction.snapshot(holding: chain).map(transaction.info) }
    }

    /// Calls `body` for every snapshot that one of the filters matches, oldest first; without a filter for every one.
    ///
    /// All snapshots are read before the first call, so `body` may call the store.
    ///
    /// - Throws: `.resourceExhausted` for filters that take too much work; errors of `body`.
    package func walk(
        _ filters: [SnapshotFilter] = [], _ body: (SnapshotInfo) throws -> Void
    ) throws {
        let all = try database.read { try $0.infos($0.snapshots()) }
        var budget = StepBudget(steps: SnapshotFilter.maximumSteps)
        for info in all where try SnapshotFilter.any(filters, info, &budget) { try body(info) }
    }

    // MARK: Usage

    /// The space of a snapshot without its parent. A committed snapshot is measured once, an active one in each call,
    /// which may take a while; a view takes no space.
    ///
    /// - Throws: `.notFound`, `.system`.
    package func usage(of name: String) throws(StoreFailure) -> SnapshotUsage {
        let row = try database.read { try $0.existing(name) }
        if row.kind == .view { return .none }
        if let usage = row.usage { return usage }
        let usage: SnapshotUsage
        do throws(StoreFailure) {
            usage = try measure(row.id, isCommitted: row.kind == .committed, on: row.parent?.id, name)
        } catch {
            // Another process may have removed the snapshot and its directory meanwhile.
            _ = try database.read { try $0.existing(name) }
            throw error
        }
        guard row.kind == .committed else { return usage }
        // Committed by a version that measured nothing, or without being measured.
        try database.write { try $0.setUsage(usage, of: row.id) }
        return usage
    }

    /// As `usage`; nil if the snapshot does not exist any more.
    package func usageIfPresent(of name: String) throws(StoreFailure) -> SnapshotUsage? {
        do throws(StoreFailure) {
            return try usage(of: name)
        } catch {
            if error.kind == .notFound { return nil }
            throw error
        }
    }

    /// Measures the committed snapshots that have not been measured, so that a removal can report the space that it
    /// frees.
    package func measureAll() throws(StoreFailure) {
        for name in try database.read({ try $0.unmeasuredNames() }) { _ = try usageIfPresent(of: name) }
    }

    /// - Parameter tree: as in `SnapshotBackend.usage`.
    func measure(
        _ id: Int64, isCommitted: Bool, on parent: Int64?, _ name: String, tree: SnapshotUsage? = nil
    ) throws(StoreFailure) -> SnapshotUsage {
        try attempting("cannot measure '\(name)'") { () throws(SyscallFailure) in
            try backend.usage(of: id, isCommitted: isCommitted, on: parent, tree: tree)
        }
    }

    // MARK: Directories

    /// The tree of a snapshot without the layers below: a directory, or an image of a file system.
    package func path(of snapshot: SnapshotInfo) -> FilePath {
        let type = type(of: backend)
        let tree = snapshot.kind == .committed ? type.committedTree : type.tree
        return backend.folder.path(of: snapshot.id).appending(tree.description)
    }

    /// The trees of a committed snapshot and of all below it, topmost first; of a full-copy backend only the
    /// snapshot's own.
    ///
    /// - Throws: `.notFound`, `.system`.
    package func layers(of name: String) throws(StoreFailure) -> [SnapshotTree] {
        var ids = try database.read { try $0.ancestry(of: $0.existing(name).id) }
        if content == .mergedTree { ids = Array(ids.prefix(1)) }
        return try attempting("cannot open the layers of '\(name)'") { () throws(SyscallFailure) in
            var layers = [SnapshotTree]()
            for id in ids { layers.append(try backend.open(id, isWritable: false)) }
            return layers
        }
    }

    /// The images of a committed snapshot and of all below it, topmost first.
    ///
    /// - Precondition: `content` is `.image`.
    /// - Throws: `.notFound`.
    package func images(of name: String) throws(StoreFailure) -> [FilePath] {
        try database.read { try $0.ancestry(of: $0.existing(name).id) }.map(imagePath)
    }

    func imagePath(of id: Int64) -> FilePath {
        backend.folder.path(of: id).appending(type(of: backend).committedTree.description)
    }
}
