/// Snapshots that were committed and whose files may not be on the disk yet.
extension SnapshotStore {
    /// Completes a commit that had to be fast: measures the snapshot and, with `isSynced`, makes it and all below it
    /// durable. Does nothing if the snapshot does not exist any more.
    package func completeCommit(of name: String, isSynced: Bool = true) throws(StoreFailure) {
        guard try usageIfPresent(of: name) != nil, isSynced else { return }
        let pending = try database.read { transaction in
            guard let row = try transaction.snapshot(named: name) else { return [Int64]() }
            return try transaction.pending(among: transaction.ancestry(of: row.id))
        }
        try makeDurable(pending)
    }

    /// Syncs the file system, and only then records that these snapshots are durable.
    func makeDurable(_ ids: [Int64]) throws(StoreFailure) {
        guard !ids.isEmpty else { return }
        try syncFileSystem()
        try database.write(.durable) { try $0.markDurable(ids) }
    }
}
