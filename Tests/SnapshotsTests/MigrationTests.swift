import Kernel
import OCI
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// Upgrades of a store's database by this version, with SQLite's own program as the earlier version.
@Suite(
    "Upgrades of the database",
    .enabled(if: TestEnvironment.canApplyLayers, "needs root and a place for layers"))
struct MigrationTests {
    private let scratch: TemporaryDirectory
    private let chain = ChainID(OCI.Digest(.sha256, bytes: [UInt8](repeating: 1, count: 32)))

    init() throws {
        Process.setUp()
        scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
    }

    private func open(boot: String) throws -> SnapshotStore {
        try SnapshotStore(
            opening: scratch.path.appending("store"), snapshotter: "overlayfs", boot: boot, clock: { 42 })
    }

    @discardableResult
    private func sqlite(_ statements: String) throws -> String {
        let path = scratch.path.appending("store/metadata.db").string
        return try Command.run("sqlite3", path, statements).succeed().text
    }

    private static let distrusted =
        "SELECT distrusted, name FROM snapshot WHERE kind = 'committed' ORDER BY id"

    /// A layer that a reboot has damaged, with a user's snapshot on it, and a user's snapshot with a similar name.
    private func makeDistrusted() throws -> SnapshotStore {
        let first = try open(boot: "first")
        let run = try first.startRun()
        let layer = try first.prepareLayer("layer", parent: nil, in: run)
        try first.commit(layer, as: chain, onto: nil, isRecorded: false, in: run)
        try first.prepare("key", parent: chain.description, in: run)
        try first.prepare("own", in: run)
        try first.commit("own", as: "distrusted/1/own", isSynced: true)
        try first.release(run)
        let second = try open(boot: "second")
        _ = try second.startRun()
        return second
    }

    @Test("Only a column says that a snapshot is distrusted, whatever its name is")
    func column() throws {
        let store = try makeDistrusted()
        #expect(try store.verified(chain) == nil)
        #expect(try sqlite(Self.distrusted) == "1|distrusted/1/\(chain)\n0|distrusted/1/own\n")
        try sqlite("UPDATE snapshot SET name = 'renamed' WHERE id = 1")
        try store.remove("key")
        let removals = try store.prunable().snapshots
        #expect(removals.map(\.snapshot.name) == ["renamed"])
        #expect(removals.map(\.reason) == [.distrusted])
        // What is not trusted once is never trusted again.
        for change in ["distrusted = 0", "verified_chain = '\(chain)'"] {
            let path = scratch.path.appending("store/metadata.db").string
            let result = try Command.run("sqlite3", path, "UPDATE snapshot SET \(change) WHERE id = 1")
            #expect(result.errorText.contains("(19)"), "\(result.report)")
        }
    }

    @Test("A store whose distrusted snapshots have only a name migrates to the column")
    func upgrade() throws {
        try makeDistrusted().close()
        // As version 5 of the schema had it.
        try sqlite(
            """
            DROP TRIGGER distrust_is_final;
            ALTER TABLE snapshot DROP COLUMN distrusted;
            DELETE FROM grdb_migrations WHERE identifier = '6';
            """)
        let store = try open(boot: "second")
        #expect(try sqlite(Self.distrusted) == "1|distrusted/1/\(chain)\n0|distrusted/1/own\n")
        try store.remove("key")
        #expect(try store.prunable().snapshots.map(\.reason) == [.distrusted])
        _ = try store.prune(in: try store.startRun())
        #expect(try sqlite(Self.distrusted) == "0|distrusted/1/own\n")
    }

    @Test("An image that has one name keeps it, and gets its documents when it is recorded again")
    func names() throws {
        let store = try open(boot: "first")
        let run = try store.startRun()
        let layer = try store.prepareLayer("layer", parent: nil, in: run)
        try store.commit(layer, as: chain, onto: nil, isRecorded: false, in: run)
        try store.release(run)
        func image(_ name: String) -> ImageRecord {
            ImageRecord(
                names: [name], manifest: chain.digest, mediaType: .ociManifest, platform: .host,
                topChain: chain,
                layers: [])
        }
        let documents = ImageRecord.Documents(manifest: "{}", config: "{ }")
        try store.record(image("old"), documents, sync: true)
        try store.close()
        // As version 7 of the schema had it.
        try sqlite(
            """
            ALTER TABLE image ADD COLUMN reference TEXT;
            UPDATE image SET reference = 'old';
            DROP TABLE image_name;
            ALTER TABLE image DROP COLUMN manifest_document;
            ALTER TABLE image DROP COLUMN config_document;
            ALTER TABLE image DROP COLUMN used;
            DELETE FROM grdb_migrations WHERE identifier = '8';
            """)
        let upgraded = try open(boot: "first")
        let found = try upgraded.images()
        #expect(found.map(\.names) == [["old"]] && found[0].used == found[0].created)
        #expect(try upgraded.documents(of: chain.digest) == nil)
        #expect(try !upgraded.has(image("old"), synced: true))
        try upgraded.record(image("new"), documents, sync: true)
        #expect(try upgraded.images().map(\.names) == [["new", "old"]])
        #expect(try upgraded.images()[0].created == found[0].created)
        #expect(try upgraded.documents(of: chain.digest) == documents)
        #expect(try upgraded.has(image("old"), synced: true))
    }
}
