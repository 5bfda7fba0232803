internal import Kernel
internal import OCI

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
        let synced = try sync(ids)
        try database.write(.durable) { try $0.markDurable(synced) }
    }

    /// Protects snapshots with fs-verity if they are images and the file system has it, and syncs the file system.
    ///
    /// - Returns: what the rows of these snapshots are to record.
    func sync(_ ids: [Int64]) throws(StoreFailure) -> SyncedSnapshots {
        var synced = SyncedSnapshots(ids: ids)
        for id in ids {
            synced.verityDigests[id] = try enableVerity(id)
        }
        try syncFileSystem()
        return synced
    }

    private func enableVerity(_ id: Int64) throws(StoreFailure) -> Digest? {
        let doing = "cannot enable fs-verity for the snapshot \(id)"
        return try failing(doing) {
            do {
                return try backend.enableVerity(id)
            } catch {
                // Its owner has removed the snapshot meanwhile.
                if (error as? SyscallFailure)?.isMissing == true { return nil }
                throw StoreFailure(ofFiles: error, doing) ?? error
            }
        }
    }
}

/// Committed snapshots whose files are on the disk.
struct SyncedSnapshots {
    var ids: [Int64] = []
    /// The digests of fs-verity by ID, for those that it protects.
    var verityDigests: [Int64: Digest] = [:]
}
