internal import GRDB
internal import Kernel

/// Removals of single snapshots; `prune` and images have their own.
extension SnapshotStore {
    /// Removes a snapshot of any kind that nothing else needs. It is gone when the transaction is; its directory is then
    /// renamed, and deleted as far as is asked for before this returns.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` if it has children, if an image or a running unpack needs it or it is
    ///   mounted, `.unavailable` while it is being made, `.system`.
    package func remove(_ name: String, _ deletion: Deletion = .whole) throws(StoreFailure) {
        let id = try write(.durable) { database in
            let row = try self.row(name, database)
            try self.refuseUnfinished(row)
            try self.refuseNeeded(row, database)
            try self.refuseMounted(row.id, "cannot remove '\(name)'")
            try database.execute(sql: "DELETE FROM snapshot WHERE id = ?", arguments: [row.id])
            return row.id
        }
        try deleteDirectories(of: [id], deletion)
    }

    private func refuseNeeded(_ row: SnapshotRow, _ database: Database) throws {
        let reasons = [
            (
                "SELECT 1 FROM snapshot WHERE parent = ?", "other snapshots are based on it",
                "remove those first: 'unpack snapshot tree' shows them"
            ),
            (
                "SELECT 1 FROM image WHERE top = ?", "an image needs it",
                "remove the image with 'unpack rm'"
            ),
            ("SELECT 1 FROM pin WHERE snapshot = ?", "a running unpack needs it", "wait for that"),
            (
                "SELECT 1 FROM claim WHERE snapshot = ?", "a service has taken it over",
                "remove what uses it there, e.g. with 'ctr image rm'"
            ),
        ]
        for (query, reason, hint) in reasons {
            if try Bool.fetchOne(database, sql: query, arguments: [row.id]) != nil {
                throw StoreFailure(.failedPrecondition, "cannot remove '\(row.name)': \(reason)", hint: hint)
            }
        }
    }

    /// Gives up a run's snapshot.
    package func abandon(_ active: consuming ActiveSnapshot) throws(StoreFailure) {
        let id = active.id
        _ = consume active
        try abandon(id)
    }

    func discard(_ id: Int64) { try? abandon(id) }

    /// The directory goes first: where the disk is full, this makes room for the row's removal. A crash between the two
    /// leaves a row of an ended run. One that is committed already stays.
    private func abandon(_ id: Int64) throws(StoreFailure) {
        let isRuns = try read { database in
            try Bool.fetchOne(
                database, sql: "SELECT 1 FROM snapshot WHERE id = ? AND run IS NOT NULL", arguments: [id])
                != nil
        }
        guard isRuns else { return }
        try deleteDirectories(of: [id])
        try write { try $0.execute(sql: "DELETE FROM snapshot WHERE id = ?", arguments: [id]) }
    }
}
