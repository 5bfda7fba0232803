internal import GRDB
internal import OCI

/// Whose snapshots are whose, and claims: what services use of what the unpacker has made.
extension SnapshotStore {
    /// A finished snapshot of one owner.
    func find(_ name: String, of owner: Owner) throws(StoreFailure) -> SnapshotInfo? {
        try read { database in
            guard let row = try SnapshotRow.named(name, self.snapshotter, database),
                row.owner == owner.rawValue, row.run == nil
            else { return nil }
            return try row.info(database)
        }
    }

    func findClaimed(_ name: String, by service: Owner) throws(StoreFailure) -> SnapshotInfo? {
        try read { database in
            guard let row = try SnapshotRow.named(name, self.snapshotter, database),
                try self.isClaimed(row.id, by: service, database)
            else { return nil }
            return try row.info(database)
        }
    }

    private func isClaimed(_ id: Int64, by service: Owner, _ database: Database) throws -> Bool {
        try Bool.fetchOne(
            database, sql: "SELECT 1 FROM claim WHERE service = ? AND snapshot = ?",
            arguments: [service.rawValue, id]) != nil
    }

    /// All that a service sees, oldest first: its own and what it has claimed, nothing that is half made.
    func visible(to service: Owner) throws(StoreFailure) -> [SnapshotInfo] {
        try read { database in
            let rows = try SnapshotRow.fetchAll(
                database,
                sql: """
                    \(SnapshotRow.select) LEFT JOIN claim ON claim.snapshot = snapshot.id AND claim.service = ?2
                    WHERE snapshot.snapshotter = ?1 AND snapshot.run IS NULL
                    AND (snapshot.owner = ?2 OR claim.service IS NOT NULL)
                    ORDER BY snapshot.id
                    """, arguments: [self.snapshotter, service.rawValue])
            let labels = try SnapshotRow.labels(of: self.snapshotter, database)
            return rows.map { $0.info(labels[$0.id] ?? [:]) }
        }
    }

    /// What an owner has committed and is not known to be on the disk: of this boot, and of others.
    func unsettled(of owner: Owner) throws(StoreFailure) -> (new: [String], suspect: [String]) {
        try read { database in
            let rows = try Row.fetchAll(
                database,
                sql: """
                    SELECT name, boot FROM snapshot WHERE snapshotter = ? AND owner = ? AND kind = 'committed'
                    AND boot IS NOT NULL ORDER BY id
                    """, arguments: [self.snapshotter, owner.rawValue])
            let isNew = { (row: Row) in row["boot"] == self.boot }
            return (rows.filter(isNew).map { $0["name"] }, rows.filter { !isNew($0) }.map { $0["name"] })
        }
    }

    /// Claims the snapshot that is known to hold a chain, once it is on the disk: a service's clients remember it beyond
    /// this boot.
    ///
    /// - Parameter parent: the snapshot that it has to stand on.
    /// - Returns: nil if there is none, and if the service has a snapshot of that name: of two of one name, clients could be
    ///   given the one that is not verified.
    func claim(_ chain: ChainID, on parent: Int64?, for service: Owner) throws(StoreFailure) -> SnapshotInfo?
    {
        @Sendable func find(_ database: Database) throws -> SnapshotRow? {
            let row = try SnapshotRow.holding(chain, self.snapshotter, boot: self.boot, database)
            return row?.parent == parent ? row : nil
        }
        guard let row = try read(find) else { return nil }
        if row.boot != nil { try settle(row.name) }
        return try write(.durable) { database in
            guard let row = try find(database), row.boot == nil else { return nil }
            let own = "\(service.rawValue):\(row.name)"
            guard try SnapshotRow.named(own, self.snapshotter, database) == nil else { return nil }
            try database.execute(
                sql: "INSERT OR IGNORE INTO claim VALUES (?, ?)", arguments: [service.rawValue, row.id])
            return try row.info(database)
        }
    }

    /// What a service has adopted has its name, as the service's clients see it, to itself.
    ///
    /// - Throws: `.alreadyExists`.
    func refuseAdopted(_ name: String, _ database: Database) throws {
        let isAdopted = try Bool.fetchOne(
            database, sql: "SELECT \(Schema.isAdopted("?1", "?2"))", arguments: [name, snapshotter])
        guard isAdopted == true else { return }
        throw StoreFailure(
            .alreadyExists, "there is a snapshot '\(name)' already: a verified layer that was adopted")
    }

    /// Ends a claim. The snapshot goes if nothing else needs it.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` while the service has snapshots on it, `.system`.
    func giveBack(_ name: String, by service: Owner, _ deletion: Deletion) throws(StoreFailure) {
        let ids = try write(.durable) { database in
            let row = try self.row(name, database)
            try self.refuseBased(on: row, service, database)
            try database.execute(
                sql: "DELETE FROM claim WHERE service = ? AND snapshot = ?",
                arguments: [service.rawValue, row.id])
            guard database.changesCount == 1 else {
                throw StoreFailure(.notFound, "there is no snapshot '\(name)'")
            }
            let unneeded = try self.unneeded(database).map(\.snapshot.id).filter { $0 == row.id }
            try self.deleteRows(unneeded, database)
            return unneeded
        }
        try deleteDirectories(of: ids, deletion)
    }

    private func refuseBased(on row: SnapshotRow, _ service: Owner, _ database: Database) throws {
        let isBase = try Bool.fetchOne(
            database,
            sql: """
                SELECT 1 FROM snapshot LEFT JOIN claim ON claim.snapshot = snapshot.id AND claim.service = ?2
                WHERE snapshot.parent = ?1 AND (snapshot.owner = ?2 OR claim.service IS NOT NULL)
                """, arguments: [row.id, service.rawValue])
        guard isBase != nil else { return }
        throw StoreFailure(
            .failedPrecondition, "cannot remove '\(row.name)': other snapshots are based on it")
    }
}
