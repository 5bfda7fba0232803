internal import GRDB
internal import OCI

/// A row of `snapshot`, with its parent's name.
struct SnapshotRow: Decodable, FetchableRecord, Sendable {
    let id: Int64
    let name: String
    let kind: SnapshotInfo.Kind
    let parent: Int64?
    let parentName: String?
    let owner: String
    let run: String?
    let boot: String?
    let verifiedChain: String?
    let size: Int64?
    let inodes: Int64?
    let treeDigest: String?
    let created: Int64
    let updated: Int64

    private enum CodingKeys: String, CodingKey {
        case id, name, kind, parent, owner, run, boot, size, inodes, created, updated
        case parentName = "parent_name"
        case verifiedChain = "verified_chain"
        case treeDigest = "tree_digest"
    }

    static let select = """
        SELECT snapshot.*, above.name AS parent_name
        FROM snapshot LEFT JOIN snapshot AS above ON above.id = snapshot.parent
        """

    static func named(_ name: String, _ snapshotter: String, _ database: Database) throws -> SnapshotRow? {
        try fetchOne(
            database, sql: "\(select) WHERE snapshot.snapshotter = ? AND snapshot.name = ?",
            arguments: [snapshotter, name])
    }

    /// The snapshot that is known to hold a chain; one of another boot that was never synced is not trusted.
    static func holding(_ chain: ChainID, _ snapshotter: String, boot: String, _ database: Database) throws
        -> SnapshotRow?
    {
        try fetchOne(
            database,
            sql: """
                \(select) WHERE snapshot.snapshotter = ? AND snapshot.verified_chain = ?
                AND (snapshot.boot IS NULL OR snapshot.boot = ?)
                """,
            arguments: [snapshotter, chain.description, boot])
    }

    /// A snapshot and all below it, topmost first.
    static func ancestry(of id: Int64, _ database: Database) throws -> [Int64] {
        try Int64.fetchAll(
            database,
            sql: """
                WITH RECURSIVE chain(id, parent, depth) AS (
                    SELECT id, parent, 0 FROM snapshot WHERE id = ?
                    UNION ALL
                    SELECT snapshot.id, snapshot.parent, depth + 1 FROM snapshot JOIN chain ON snapshot.id = chain.parent
                )
                SELECT id FROM chain ORDER BY depth
                """,
            arguments: [id])
    }

    static func all(_ snapshotter: String, _ database: Database) throws -> [SnapshotRow] {
        try fetchAll(
            database, sql: "\(select) WHERE snapshot.snapshotter = ? ORDER BY snapshot.id",
            arguments: [snapshotter])
    }

    // MARK: As values

    /// - Parameter labels: those that are stored. The label of a chain is added to a snapshot that is verified to hold one.
    func info(_ labels: [String: String]) -> SnapshotInfo {
        let chain = verifiedChain.flatMap { try? ChainID(Digest(parsing: $0)) }
        var labels = labels
        labels[SnapshotLabels.chain] = chain?.description
        return SnapshotInfo(
            id: id, name: name, kind: kind, parent: parentName, owner: Owner(rawValue: owner),
            verifiedChain: chain, labels: labels, created: created, updated: updated)
    }

    func info(_ database: Database) throws -> SnapshotInfo { info(try storedLabels(database)) }

    func storedLabels(_ database: Database) throws -> [String: String] {
        let labels = try Row.fetchAll(
            database, sql: "SELECT name, value FROM label WHERE snapshot = ?", arguments: [id])
        return Dictionary(uniqueKeysWithValues: labels.map { ($0["name"], $0["value"]) })
    }

    /// Nil until it is measured.
    var usage: SnapshotUsage? {
        guard let size, let inodes else { return nil }
        return SnapshotUsage(size: size, inodes: inodes)
    }

    /// Whether a reboot has taken its chain from it.
    var isDistrusted: Bool { name.hasPrefix("distrusted/") }

    // MARK: What belongs to a row

    static func remember(_ usage: SnapshotUsage, of id: Int64, _ database: Database) throws {
        try database.execute(
            sql: "UPDATE snapshot SET size = ?, inodes = ? WHERE id = ?",
            arguments: [usage.size, usage.inodes, id])
    }

    /// - Parameter digest: of the record of its tree.
    static func remember(_ digest: Digest, of id: Int64, _ database: Database) throws {
        try database.execute(
            sql: "UPDATE snapshot SET tree_digest = ? WHERE id = ?", arguments: [digest.description, id])
    }

    /// The labels of all snapshots, by id.
    static func labels(of snapshotter: String, _ database: Database) throws -> [Int64: [String: String]] {
        var labels = [Int64: [String: String]]()
        let rows = try Row.fetchCursor(
            database,
            sql: """
                SELECT label.* FROM label JOIN snapshot ON snapshot.id = label.snapshot WHERE snapshotter = ?
                """, arguments: [snapshotter])
        while let row = try rows.next() { labels[row["snapshot"], default: [:]][row["name"]] = row["value"] }
        return labels
    }

    /// Replaces all labels of a snapshot.
    static func setLabels(_ labels: [String: String], of id: Int64, _ database: Database) throws {
        try database.execute(sql: "DELETE FROM label WHERE snapshot = ?", arguments: [id])
        for (name, value) in labels {
            try database.execute(sql: "INSERT INTO label VALUES (?, ?, ?)", arguments: [id, name, value])
        }
    }
}
