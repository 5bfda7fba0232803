internal import GRDB
internal import OCI

/// A row of `snapshot`, with its parent's name.
struct SnapshotRow: Decodable, FetchableRecord, Sendable {
    let id: Int64
    let name: String
    let kind: String
    let parent: Int64?
    let parentName: String?
    let owner: String
    let run: String?
    let boot: String?
    let verifiedChain: String?
    let created: Int64
    let updated: Int64

    private enum CodingKeys: String, CodingKey {
        case id, name, kind, parent, owner, run, boot, created, updated
        case parentName = "parent_name"
        case verifiedChain = "verified_chain"
    }

    private static let select = """
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

    var info: SnapshotInfo {
        SnapshotInfo(
            id: id, name: name, kind: SnapshotInfo.Kind(rawValue: kind) ?? .committed, parent: parentName,
            owner: Owner(rawValue: owner),
            verifiedChain: verifiedChain.flatMap { try? ChainID(Digest(parsing: $0)) }, created: created,
            updated: updated)
    }
}
