internal import SQLite

/// What services own and what they have adopted (the table `claim`).
extension StoreTransaction {
    func isAdopted(_ id: Int64, by service: Owner) throws -> Bool {
        try connection.exists(
            "SELECT 1 FROM claim WHERE service = ? AND snapshot = ?", service.rawValue, id)
    }

    func adopt(_ id: Int64, for service: Owner) throws {
        try connection.execute("INSERT OR IGNORE INTO claim VALUES (?, ?)", service.rawValue, id)
    }

    /// - Returns: false if the service has not adopted the snapshot.
    func endAdoption(of id: Int64, by service: Owner) throws -> Bool {
        try connection.execute(
            "DELETE FROM claim WHERE service = ? AND snapshot = ?", service.rawValue, id) == 1
    }

    /// Whether a new snapshot of this name, `SERVICE:NAME`, would hide a snapshot that the service has adopted.
    func hidesAdopted(_ name: String) throws -> Bool {
        try connection.exists("SELECT 1 WHERE \(Schema.isAdopted("?1", "?2"))", name, scope.snapshotter)
    }

    /// The services that have adopted any of these snapshots.
    func servicesUsing(_ ids: some Sequence<Int64>) throws -> [Owner] {
        try connection.rows("SELECT DISTINCT service FROM claim WHERE snapshot IN (\(Self.list(ids)))") {
            Owner(rawValue: try $0.text("service"))
        }
    }

    /// The finished snapshots that a service owns or has adopted, oldest first.
    func snapshots(visibleTo service: Owner) throws -> [SnapshotRow] {
        try connection.rows(
            """
            \(Self.selectSnapshots) LEFT JOIN claim ON claim.snapshot = snapshot.id AND claim.service = ?2
            WHERE snapshot.snapshotter = ?1 AND snapshot.run IS NULL
            AND (snapshot.owner = ?2 OR claim.service IS NOT NULL)
            ORDER BY snapshot.id
            """, scope.snapshotter, service.rawValue, as: SnapshotRow.init)
    }

    /// The committed snapshots of an owner that are not known to be on the disk, oldest first, with the boot that has
    /// committed them.
    func pendingSnapshots(of owner: Owner) throws -> [(name: String, boot: String)] {
        try connection.rows(
            """
            SELECT name, boot FROM snapshot WHERE snapshotter = ? AND owner = ? AND kind = 'committed'
            AND boot IS NOT NULL ORDER BY id
            """, scope.snapshotter, owner.rawValue
        ) { (try $0.text("name"), try $0.text("boot")) }
    }

    /// Whether a snapshot that the service owns or has adopted has this parent.
    func hasChild(_ id: Int64, visibleTo service: Owner) throws -> Bool {
        try connection.exists(
            """
            SELECT 1 FROM snapshot LEFT JOIN claim ON claim.snapshot = snapshot.id AND claim.service = ?2
            WHERE snapshot.parent = ?1 AND (snapshot.owner = ?2 OR claim.service IS NOT NULL)
            """, id, service.rawValue)
    }

    /// The finished active snapshots of services in one snapshotter's folder.
    ///
    /// - Parameter snapshotter: may be another one than that of the store.
    func activeSnapshotsOfServices(in snapshotter: String) throws -> [Int64] {
        try connection.rows(
            """
            SELECT id FROM snapshot WHERE snapshotter = ? AND kind = 'active' AND run IS NULL AND owner NOT IN (?, ?)
            """, snapshotter, Owner.images.rawValue, Owner.user.rawValue
        ) { try $0.integer("id") }
    }
}
