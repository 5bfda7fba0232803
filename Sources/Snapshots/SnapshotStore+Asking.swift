internal import GRDB
internal import Kernel
package import Mounts
package import OCI
package import SystemPackage

/// What can be asked of a store. Nothing here changes it but `usage`, which remembers what it has measured.
extension SnapshotStore {
    /// - Throws: `.notFound`.
    package func stat(_ name: String) throws(StoreFailure) -> SnapshotInfo {
        try read { try self.row(name, $0).info($0) }
    }

    /// As `stat`; nil if there is no such snapshot.
    package func find(_ name: String) throws(StoreFailure) -> SnapshotInfo? {
        try read { try SnapshotRow.named(name, self.snapshotter, $0)?.info($0) }
    }

    /// The snapshot that holds a chain whose every byte was verified, by this program and on a disk that can
    /// be trusted.
    package func verified(_ chain: ChainID) throws(StoreFailure) -> SnapshotInfo? {
        try read { try SnapshotRow.holding(chain, self.snapshotter, boot: self.boot, $0)?.info($0) }
    }

    /// Lends every snapshot that one of the filters lets pass, oldest first; without a filter every one.
    ///
    /// All have been read before the first is lent, so that `body` may ask the store whatever it likes.
    ///
    /// - Throws: `.resourceExhausted` for filters that take too much work; whatever `body` throws.
    package func walk(
        _ filters: [SnapshotFilter] = [], _ body: (SnapshotInfo) throws -> Void
    ) throws {
        let all = try read { database in
            let labels = try SnapshotRow.labels(of: self.snapshotter, database)
            return try SnapshotRow.all(self.snapshotter, database).map { $0.info(labels[$0.id] ?? [:]) }
        }
        var budget = FilterBudget()
        for info in all where try SnapshotFilter.any(filters, info, &budget) { try body(info) }
    }

    /// What a snapshot takes, without its parent. Of a committed one it was measured when it was committed; of an active
    /// one it is measured now, which may take a while; a view takes nothing.
    ///
    /// - Throws: `.notFound`, `.system`.
    package func usage(of name: String) throws(StoreFailure) -> SnapshotUsage {
        let row = try read { try self.row(name, $0) }
        if row.kind == .view { return .none }
        if let usage = row.usage { return usage }
        let usage: SnapshotUsage
        do throws(StoreFailure) {
            usage = try measure(row.id, name)
        } catch {
            // Its directory goes with it when somebody removes it meanwhile.
            _ = try read { try self.row(name, $0) }
            throw error
        }
        guard row.kind == .committed else { return usage }
        // Committed by a version that measured nothing.
        try write { try SnapshotRow.remember(usage, of: row.id, $0) }
        return usage
    }

    /// As `usage`; nil if there is no such snapshot, any more.
    package func usageIfPresent(of name: String) throws(StoreFailure) -> SnapshotUsage? {
        do throws(StoreFailure) {
            return try usage(of: name)
        } catch {
            if error.kind == .notFound { return nil }
            throw error
        }
    }

    /// Measures the committed snapshots that were not yet, so that can be said what their removal frees.
    package func measureAll() throws(StoreFailure) {
        let names = try read { database in
            try String.fetchAll(
                database,
                sql: """
                    SELECT name FROM snapshot WHERE snapshotter = ? AND kind = 'committed' AND size IS NULL
                    """, arguments: [self.snapshotter])
        }
        for name in names { _ = try usageIfPresent(of: name) }
    }

    /// - Parameter tree: as in `SnapshotBackend.usage`.
    func measure(_ id: Int64, _ name: String, tree: SnapshotUsage? = nil) throws(StoreFailure)
        -> SnapshotUsage
    {
        let parent = try read {
            try Int64.fetchOne($0, sql: "SELECT parent FROM snapshot WHERE id = ?", arguments: [id])
        }
        return try attempting("cannot measure '\(name)'") { () throws(SyscallFailure) in
            try backend.usage(of: id, on: parent, tree: tree)
        }
    }

    // MARK: Mounts

    /// How an active snapshot or a view is mounted: what `prepare` or `view` have returned.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` for a committed one.
    package func mounts(of key: String) throws(StoreFailure) -> [Mount] {
        try mounts { database in
            let row = try self.row(key, database)
            guard row.kind != .committed else {
                throw StoreFailure(
                    .failedPrecondition, "the snapshot '\(key)' is committed", hint: "make a view of it")
            }
            return row
        }
    }

    /// How a committed snapshot is mounted read-only: what a view of it would return. That never changes.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` for one that is not committed.
    package func readOnlyMounts(of name: String) throws(StoreFailure) -> [Mount] {
        try mounts { database in
            let row = try self.row(name, database)
            guard row.kind == .committed else {
                throw StoreFailure(.failedPrecondition, "the snapshot '\(name)' is not committed")
            }
            return row
        }
    }

    private func mounts(of find: @Sendable (Database) throws -> SnapshotRow) throws(StoreFailure) -> [Mount] {
        let (row, chain) = try read { database in
            let row = try find(database)
            try self.refuseUnfinished(row)
            return (row, try SnapshotRow.ancestry(of: row.id, database))
        }
        return try attempting("cannot tell how '\(row.name)' is mounted") { () throws(SyscallFailure) in
            switch row.kind {
            case .active: try backend.mounts(own: row.id, parents: Array(chain.dropFirst()), isWritable: true)
            case .view where chain.count == 1: try backend.mounts(own: row.id, parents: [], isWritable: false)
            case .view: try backend.mounts(own: nil, parents: Array(chain.dropFirst()), isWritable: false)
            case .committed: try backend.mounts(own: nil, parents: chain, isWritable: false)
            }
        }
    }

    /// What a run has not finished yet is nobody else's: neither mounted nor committed nor removed.
    func refuseUnfinished(_ row: SnapshotRow) throws {
        guard row.run != nil else { return }
        throw StoreFailure(
            .unavailable, "the snapshot '\(row.name)' is being made by another process",
            hint: "wait for it; if that process has ended, 'unpack prune' removes what it has left")
    }

    // MARK: Directories

    /// What carries a snapshot's tree, without the layers below: a directory, or an image of a file system.
    package func path(of snapshot: SnapshotInfo) -> FilePath {
        backend.folder.path(of: snapshot.id).appending(type(of: backend).tree.description)
    }

    /// The trees of a committed snapshot and of all below it, topmost first; of whole trees its own alone.
    ///
    /// - Throws: `.notFound`, `.system`.
    package func layers(of name: String) throws(StoreFailure) -> [SnapshotTree] {
        var ids = try read { try SnapshotRow.ancestry(of: try self.row(name, $0).id, $0) }
        if content == .wholeTree { ids = Array(ids.prefix(1)) }
        return try attempting("cannot open the layers of '\(name)'") { () throws(SyscallFailure) in
            var layers = [SnapshotTree]()
            for id in ids { layers.append(try backend.open(id, isWritable: false)) }
            return layers
        }
    }
}
