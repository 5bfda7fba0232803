internal import Kernel

/// Removals of single snapshots. `Removal` has those of many, and deletes the directories.
extension SnapshotStore {
    /// Removes a snapshot of any kind that nothing else needs. The snapshot is gone when the transaction is committed;
    /// its directory is then moved to the trash, and deleted as far as `deletion` says before this returns.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` if it has children, if an image, a service or a running unpack
    ///   needs it or if it is mounted, `.unavailable` while it is being made, `.system`.
    package func remove(_ name: String, _ deletion: Deletion = .complete) throws(StoreFailure) {
        let id = try database.write(.durable) { transaction in
            let row = try transaction.existing(name)
            try row.refuseUnfinished()
            try transaction.refuseNeeded(row)
            try self.refuseMounted(row.id, "cannot remove '\(name)'")
            try transaction.delete(row.id)
            return row.id
        }
        try trash.delete(directoriesOf: [id], deletion)
    }

    /// Removes a snapshot that a run has not committed.
    package func abandon(_ active: consuming ActiveSnapshot) throws(StoreFailure) {
        let id = active.id
        _ = consume active
        try abandon(id)
    }

    /// As `abandon`, for the cleanup after another error.
    func discard(_ id: Int64) { try? abandon(id) }

    /// Deletes the directory first: on a full disk this makes room for the removal of the row. A crash between the two
    /// leaves the row of an ended run. A committed snapshot stays.
    private func abandon(_ id: Int64) throws(StoreFailure) {
        let isUnfinished = try database.read { try $0.isUnfinished(id) }
        guard isUnfinished else { return }
        try trash.delete(directoriesOf: [id], .complete)
        try database.write { try $0.delete(id) }
    }
}
