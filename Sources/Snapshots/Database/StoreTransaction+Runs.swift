internal import OCI
internal import SQLite

/// Runs, pins, and what is not needed any more.
extension StoreTransaction {
    // MARK: Runs

    /// Keeps a snapshot from being removed while a run lives.
    func pin(_ id: Int64, in run: Run) throws {
        try connection.execute("INSERT OR IGNORE INTO pin VALUES (?, ?)", run.name, id)
    }

    /// Whether a run relies on any of these snapshots.
    func arePinned(_ ids: some Sequence<Int64>) throws -> Bool {
        try connection.exists("SELECT 1 FROM pin WHERE snapshot IN (\(Self.list(ids)))")
    }

    func unpinAll(of run: Run) throws {
        try connection.execute("DELETE FROM pin WHERE run = ?", run.name)
    }

    /// The snapshots that these runs have not finished.
    func unfinished(ofRuns names: [String]) throws -> [Int64] {
        try connection.rows(
            "SELECT id FROM snapshot WHERE run IN (\(Self.marks(names)))", values: names
        ) { try $0.integer("id") }
    }

    /// Deletes the unfinished snapshots and the pins of all runs but these.
    func deleteUnfinished(exceptOfRuns names: [String]) throws {
        let marks = Self.marks(names)
        try connection.execute(
            "DELETE FROM snapshot WHERE run IS NOT NULL AND run NOT IN (\(marks))", values: names)
        try connection.execute("DELETE FROM pin WHERE run NOT IN (\(marks))", values: names)
    }

    private static func marks(_ values: [String]) -> String {
        values.map { _ in "?" }.joined(separator: ",")
    }

    // MARK: Trust

    /// Ends the trust in committed snapshots that another boot has not synced and in all that is based on them: they
    /// lose their chain and their image, and give up their name, so that the chain can be unpacked again.
    ///
    /// - Returns: their IDs, newest first.
    func distrustOtherBoots() throws -> [Int64] {
        let suspects = try connection.rows(
            """
            WITH RECURSIVE suspect(id) AS (
                SELECT id FROM snapshot WHERE boot IS NOT NULL AND boot != ?1 AND verified_chain IS NOT NULL
                UNION
                SELECT snapshot.id FROM snapshot JOIN suspect ON snapshot.parent = suspect.id
            )
            SELECT suspect.id FROM suspect JOIN snapshot USING (id)
            WHERE snapshot.snapshotter = ?2 AND snapshot.kind = 'committed' ORDER BY suspect.id DESC
            """, scope.boot, scope.snapshotter
        ) { try $0.integer("id") }
        for id in suspects {
            try connection.execute("DELETE FROM image WHERE top = ?", id)
            try connection.execute(
                """
                UPDATE snapshot SET verified_chain = NULL, distrusted = 1, name = 'distrusted/' || id || '/' || name
                WHERE id = ?
                """, id)
        }
        return suspects
    }

    // MARK: What is needed

    /// Committed layers of images that nothing needs, newest first.
    ///
    /// - Parameter mounted: snapshots that are in use although no row shows it.
    func unneeded(mounted: some Sequence<Int64>) throws -> [SnapshotRow] {
        try connection.rows(
            """
            WITH RECURSIVE needed(id) AS (
                SELECT top FROM image
                UNION SELECT id FROM snapshot WHERE kind != 'committed' OR owner != 'images'
                UNION SELECT snapshot FROM pin
                UNION SELECT snapshot FROM claim
                UNION SELECT id FROM snapshot WHERE id IN (\(Self.list(mounted)))
                UNION SELECT snapshot.parent FROM snapshot JOIN needed USING (id) WHERE snapshot.parent IS NOT NULL
            )
            \(Self.selectSnapshots)
            WHERE snapshot.snapshotter = ? AND snapshot.id NOT IN needed ORDER BY snapshot.id DESC
            """, scope.snapshotter, as: SnapshotRow.init)
    }

    /// The finished active snapshots of users, oldest first.
    func activeSnapshotsOfUsers() throws -> [SnapshotRow] {
        try connection.rows(
            """
            \(Self.selectSnapshots) WHERE snapshot.snapshotter = ? AND snapshot.kind = 'active'
            AND snapshot.run IS NULL AND snapshot.owner = ? ORDER BY snapshot.id
            """, scope.snapshotter, Owner.user.rawValue, as: SnapshotRow.init)
    }

    /// The snapshots that hold any of these chains, and all that are based on them.
    func snapshots(basedOn chains: [ChainID]) throws -> [Int64] {
        let marks = Self.marks(chains.map(\.description))
        return try connection.rows(
            """
            WITH RECURSIVE above(id) AS (
                SELECT id FROM snapshot WHERE verified_chain IN (\(marks)) AND snapshotter = ?
                UNION SELECT snapshot.id FROM snapshot JOIN above ON snapshot.parent = above.id
            )
            SELECT id FROM above
            """, values: chains.map(\.description) + [scope.snapshotter]
        ) { try $0.integer("id") }
    }

    /// What needs a snapshot.
    enum Dependent: CaseIterable {
        case child
        case image
        case run
        case service
    }

    /// The first kind of dependent that a snapshot has, in the order of `Dependent.allCases`.
    func dependent(of id: Int64) throws -> Dependent? {
        try Dependent.allCases.first { dependent in
            switch dependent {
            case .child: try connection.exists("SELECT 1 FROM snapshot WHERE parent = ?", id)
            case .image: try connection.exists("SELECT 1 FROM image WHERE top = ?", id)
            case .run: try connection.exists("SELECT 1 FROM pin WHERE snapshot = ?", id)
            case .service: try connection.exists("SELECT 1 FROM claim WHERE snapshot = ?", id)
            }
        }
    }

    func delete(_ id: Int64) throws {
        try connection.execute("DELETE FROM snapshot WHERE id = ?", id)
    }

    /// Deletes those of these snapshots that are not the parent of any other one; children before their parents.
    func deleteLeaves(_ ids: [Int64]) throws {
        var rest = ids
        var count = 0
        repeat {
            count = rest.count
            rest = try rest.filter { id in
                try connection.execute(
                    """
                    DELETE FROM snapshot WHERE id = ?1
                    AND NOT EXISTS (SELECT 1 FROM snapshot AS child WHERE child.parent = ?1)
                    """, id) == 0
            }
        } while rest.count < count
    }

    /// The result of `body`, and none of the changes that it has made.
    func rollingBack<Value>(_ body: () throws -> Value) throws -> Value {
        try connection.rollingBack(body)
    }
}
