internal import OCI
internal import SQLite

/// Which rows of the database a store works on.
struct StoreScope: Sendable {
    let snapshotter: String
    /// Names the time since the kernel started.
    let boot: String
}

/// An open transaction on the metadata database. This type and its extensions in this folder contain every SQL
/// statement of the program but the schema: values go in, values come out, and no rule of the contract is decided
/// here.
struct StoreTransaction {
    let connection: SQLConnection
    let scope: StoreScope

    // MARK: The store as a whole

    /// The properties that the store was created with, by name.
    func storeProperties() throws -> [String: String] {
        let rows = try connection.rows("SELECT name, value FROM store") {
            (try $0.text("name"), try $0.text("value"))
        }
        return Dictionary(rows) { first, _ in first }
    }

    func insertStoreProperty(_ name: String, _ value: String) throws {
        try connection.execute("INSERT OR IGNORE INTO store VALUES (?, ?)", name, value)
    }

    // MARK: Reading snapshots

    static let selectSnapshots = """
        SELECT snapshot.*, above.name AS parent_name
        FROM snapshot LEFT JOIN snapshot AS above ON above.id = snapshot.parent
        """

    func snapshot(named name: String) throws -> SnapshotRow? {
        try connection.rows(
            "\(Self.selectSnapshots) WHERE snapshot.snapshotter = ? AND snapshot.name = ?",
            scope.snapshotter, name, as: SnapshotRow.init
        ).first
    }

    /// The snapshot that is verified to hold a chain; one that another boot has committed and not synced is not
    /// trusted.
    func snapshot(holding chain: ChainID) throws -> SnapshotRow? {
        try connection.rows(
            """
            \(Self.selectSnapshots) WHERE snapshot.snapshotter = ? AND snapshot.verified_chain = ?
            AND (snapshot.boot IS NULL OR snapshot.boot = ?)
            """, scope.snapshotter, chain.description, scope.boot, as: SnapshotRow.init
        ).first
    }

    /// Oldest first.
    func snapshots() throws -> [SnapshotRow] {
        try connection.rows(
            "\(Self.selectSnapshots) WHERE snapshot.snapshotter = ? ORDER BY snapshot.id",
            scope.snapshotter, as: SnapshotRow.init)
    }

    func snapshotIDs() throws -> Set<Int64> {
        Set(
            try connection.rows("SELECT id FROM snapshot WHERE snapshotter = ?", scope.snapshotter) {
                try $0.integer("id")
            })
    }

    /// A snapshot and all below it, topmost first.
    func ancestry(of id: Int64) throws -> [Int64] {
        try connection.rows(
            """
            WITH RECURSIVE chain(id, parent, depth) AS (
                SELECT id, parent, 0 FROM snapshot WHERE id = ?
                UNION ALL
                SELECT snapshot.id, snapshot.parent, depth + 1 FROM snapshot JOIN chain ON snapshot.id = chain.parent
            )
            SELECT id FROM chain ORDER BY depth
            """, id
        ) { try $0.integer("id") }
    }

    func isUnfinished(_ id: Int64) throws -> Bool {
        try connection.exists("SELECT 1 FROM snapshot WHERE id = ? AND run IS NOT NULL", id)
    }

    /// Names of committed snapshots whose usage is not known.
    func unmeasuredNames() throws -> [String] {
        try connection.rows(
            "SELECT name FROM snapshot WHERE snapshotter = ? AND kind = 'committed' AND size IS NULL",
            scope.snapshotter
        ) { try $0.text("name") }
    }

    // MARK: Labels

    func info(_ row: SnapshotRow) throws -> SnapshotInfo { row.info(try labels(of: row.id)) }

    func infos(_ rows: [SnapshotRow]) throws -> [SnapshotInfo] {
        var labels = [Int64: [String: String]]()
        let all = try connection.rows(
            "SELECT label.* FROM label JOIN snapshot ON snapshot.id = label.snapshot WHERE snapshotter = ?",
            scope.snapshotter
        ) { (try $0.integer("snapshot"), try $0.text("name"), try $0.text("value")) }
        for (id, name, value) in all { labels[id, default: [:]][name] = value }
        return rows.map { $0.info(labels[$0.id] ?? [:]) }
    }

    func labels(of id: Int64) throws -> [String: String] {
        let labels = try connection.rows("SELECT name, value FROM label WHERE snapshot = ?", id) {
            (try $0.text("name"), try $0.text("value"))
        }
        // Names that differ by bytes may be equal strings.
        return Dictionary(labels) { first, _ in first }
    }

    /// Replaces all labels of a snapshot.
    func setLabels(_ labels: [String: String], of id: Int64) throws {
        try connection.execute("DELETE FROM label WHERE snapshot = ?", id)
        for (name, value) in labels {
            try connection.execute("INSERT INTO label VALUES (?, ?, ?)", id, name, value)
        }
    }

    // MARK: Changing snapshots

    /// Inserts a snapshot that a run is making.
    ///
    /// - Returns: its ID.
    func insert(
        _ new: NewSnapshot, on parent: Int64?, in run: Run, created: SnapshotInfo.Date
    ) throws -> Int64 {
        try connection.insert(
            """
            INSERT INTO snapshot (snapshotter, name, kind, parent, owner, run, created, updated)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            """, scope.snapshotter, new.key, new.kind.rawValue, parent, new.owner.rawValue, run.name, created,
            created)
    }

    /// Ends the run's ownership of a snapshot that it has made.
    func publish(_ id: Int64) throws {
        try connection.execute("UPDATE snapshot SET run = NULL WHERE id = ?", id)
    }

    /// What a commit writes into the row of an active snapshot.
    struct Commit {
        let id: Int64
        let name: String
        let parent: Int64?
        let verifiedChain: ChainID?
        let usage: SnapshotUsage?
        let treeDigest: Digest?
        let date: SnapshotInfo.Date
    }

    /// Commits a snapshot whose files may not be on the disk yet.
    func commit(_ commit: Commit) throws {
        try connection.execute(
            """
            UPDATE snapshot SET name = ?, kind = 'committed', parent = ?, run = NULL, boot = ?,
                verified_chain = ?, size = ?, inodes = ?, tree_digest = ?, created = ?, updated = ?
            WHERE id = ?
            """, commit.name, commit.parent, scope.boot, commit.verifiedChain?.description,
            commit.usage?.size, commit.usage?.inodes, commit.treeDigest?.description, commit.date,
            commit.date,
            commit.id)
    }

    func setUpdated(_ date: SnapshotInfo.Date, of id: Int64) throws {
        try connection.execute("UPDATE snapshot SET updated = ? WHERE id = ?", date, id)
    }

    func setUsage(_ usage: SnapshotUsage, of id: Int64) throws {
        try connection.execute(
            "UPDATE snapshot SET size = ?, inodes = ? WHERE id = ?", usage.size, usage.inodes, id)
    }

    /// - Parameter digest: of the record of its tree.
    func setTreeDigest(_ digest: Digest, of id: Int64) throws {
        try connection.execute("UPDATE snapshot SET tree_digest = ? WHERE id = ?", digest.description, id)
    }

    // MARK: Durability

    /// The IDs among these that this boot has committed and not synced.
    func pending(among ids: [Int64]) throws -> [Int64] {
        try connection.rows(
            "SELECT id FROM snapshot WHERE boot = ? AND id IN (\(Self.list(ids)))", scope.boot
        ) { try $0.integer("id") }
    }

    /// Records that the files of snapshots are on the disk.
    func markDurable(_ synced: SyncedSnapshots) throws {
        try connection.execute("UPDATE snapshot SET boot = NULL WHERE id IN (\(Self.list(synced.ids)))")
        for (id, digest) in synced.verityDigests { try setVerityDigest(digest, of: id) }
    }

    /// - Parameter digest: of fs-verity; nil if its image does not have it.
    func setVerityDigest(_ digest: Digest?, of id: Int64) throws {
        try connection.execute(
            "UPDATE snapshot SET verity_digest = ? WHERE id = ?", digest?.description, id)
    }

    static func list(_ ids: some Sequence<Int64>) -> String { ids.map(String.init).joined(separator: ",") }
}

extension SnapshotRow {
    init(_ row: SQLRow) throws {
        id = try row.integer("id")
        name = try row.text("name")
        guard let kind = SnapshotInfo.Kind(rawValue: try row.text("kind")) else {
            throw StoreFailure(.database, "the store's database: the snapshot \(id) has an unknown kind")
        }
        self.kind = kind
        parent =
            if let id = row.optionalInteger("parent") {
                Parent(id: id, name: try row.text("parent_name"))
            } else {
                nil
            }
        owner = Owner(rawValue: try row.text("owner"))
        run = row.optionalText("run")
        durability = row.optionalText("boot").map { .pending(boot: $0) } ?? .durable
        let chain = row.optionalText("verified_chain").flatMap { try? ChainID(Digest(parsing: $0)) }
        trust =
            if try row.integer("distrusted") != 0 { .distrusted } else if let chain { .verified(chain) } else
            { .none }
        usage =
            if let size = row.optionalInteger("size"), let inodes = row.optionalInteger("inodes") {
                SnapshotUsage(size: size, inodes: inodes)
            } else {
                nil
            }
        treeDigest = try row.optionalText("tree_digest").map { try Digest(parsing: $0) }
        verityDigest = try row.optionalText("verity_digest").map { try Digest(parsing: $0) }
        created = try row.integer("created")
        updated = try row.integer("updated")
    }
}
