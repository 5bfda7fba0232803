import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite(
    "Stores of other versions", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts")
)
struct UpgradeTests {
    /// The schema of the first version, verbatim. It is never edited, because such stores exist.
    private static let firstSchema = """
        CREATE TABLE store (
            name TEXT PRIMARY KEY NOT NULL,
            value TEXT NOT NULL
        );
        CREATE TABLE snapshot (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            snapshotter TEXT NOT NULL,
            name TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('view', 'active', 'committed')),
            parent INTEGER REFERENCES snapshot(id) ON DELETE RESTRICT,
            owner TEXT NOT NULL,
            -- The run that is making it; null once it is finished, or when a user made it.
            run TEXT,
            -- The boot in which it was committed, until it is known to be on the disk.
            boot TEXT,
            -- The chain ID, if this program verified every byte.
            verified_chain TEXT,
            created INTEGER NOT NULL,
            updated INTEGER NOT NULL,
            UNIQUE (snapshotter, name),
            UNIQUE (snapshotter, verified_chain)
        );
        CREATE INDEX snapshot_parent ON snapshot(parent);
        CREATE TABLE label (
            snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (snapshot, name)
        ) WITHOUT ROWID;
        CREATE TABLE image (
            id INTEGER PRIMARY KEY,
            snapshotter TEXT NOT NULL,
            manifest TEXT NOT NULL,
            media_type TEXT NOT NULL,
            reference TEXT,
            platform TEXT NOT NULL,
            top INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE RESTRICT,
            created INTEGER NOT NULL,
            UNIQUE (snapshotter, manifest)
        );
        CREATE TABLE image_layer (
            image INTEGER NOT NULL REFERENCES image(id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            digest TEXT NOT NULL,
            diff_id TEXT NOT NULL,
            chain_id TEXT NOT NULL,
            size INTEGER NOT NULL,
            PRIMARY KEY (image, position)
        ) WITHOUT ROWID;
        CREATE TABLE grdb_migrations (identifier TEXT NOT NULL PRIMARY KEY);
        INSERT INTO grdb_migrations VALUES ('1');
        """

    private static let firstColumns = [
        "store": "name, value",
        "snapshot":
            "id, snapshotter, name, kind, parent, owner, run, boot, verified_chain, created, updated",
        "label": "snapshot, name, value",
        "image": "id, snapshotter, manifest, media_type, reference, platform, top, created",
        "image_layer": "image, position, digest, diff_id, chain_id, size",
    ]

    private let program: Program
    private let image: String
    private let line: String
    private let tree: TreeDump

    /// A store of the first version with an image and a user's snapshot on it.
    init() throws {
        program = try Program()
        image = try program.image([
            LayerBuilder(.file("a", Bytes.noise(9000)), .file("gone")),
            LayerBuilder(.file("b", "2"), .file(".wh.gone")),
        ]).path.string
        line = try program.line(image, "-q")
        tree = try program.tree(line)
        _ = try program.line(image, "-q", "--rw", "mine")
        let database = program.root.appending("metadata.db")
        let old = program.scratch.path.appending("old.db")
        let copies = ["store", "snapshot", "label", "image", "image_layer"].map { table in
            let columns = Self.firstColumns[table, default: ""]
            let values = columns.replacing(
                "reference", with: "(SELECT min(name) FROM present.image_name WHERE image = present.image.id)"
            )
            return "INSERT INTO main.\(table) (\(columns)) SELECT \(values) FROM present.\(table);"
        }
        let script =
            ["PRAGMA journal_mode = WAL;", Self.firstSchema, "ATTACH '\(database)' AS present;"] + copies
        try Command.run("sqlite3", old.string, script.joined(separator: "\n")).succeed()
        for suffix in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: database.string + suffix)
        }
        try FileManager.default.moveItem(atPath: old.string, toPath: database.string)
        // The first version had no records of trees.
        for id in ["1", "2"] {
            let snapshot = program.folder.appending(id)
            for name in try Directory(opening: snapshot).names() where name != FileName(literal: "fs") {
                try Directory(opening: snapshot).removeTree(name)
            }
        }
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "3\n")
        #expect(try program.rows("SELECT count(*) FROM pragma_table_info('snapshot')") == "11\n")
    }

    @Test("A store of the first version opens, keeps its content, and measures sizes on demand")
    func first() throws {
        let result = try #require(
            try JSONSerialization.jsonObject(
                with: Data(program.run(image, "-q", "--format", "json").succeed().output)) as? [String: Any])
        let layers = try #require(result["layers"] as? [[String: Any]])
        #expect(layers.count == 2 && layers.allSatisfy { $0["cached"] as? Bool == true })
        #expect(try program.line(image, "-q") == line)
        #expect(try program.tree(line) == tree)
        #expect(try program.rows("SELECT identifier FROM grdb_migrations ORDER BY 1").hasPrefix("1\n2\n3\n"))
        #expect(try program.rows("SELECT count(*) FROM snapshot WHERE size IS NOT NULL") == "0\n")
        #expect(try program.rows("PRAGMA integrity_check") == "ok\n")
        #expect(try program.rows("PRAGMA foreign_key_check") == "")

        let du = try Command.run("du", "-s", "-B1", "\(program.folder)/1/fs").succeed().text
        let usage = try program.run("snapshot", "usage", "-b").succeed().text.split(separator: "\n")
        #expect(usage[1].split(separator: " ")[1] == du.split(separator: "\t")[0])
        // Sizes are measured once, and stored for snapshots that do not change.
        #expect(try program.rows("SELECT count(*) FROM snapshot WHERE size IS NOT NULL") == "2\n")
        #expect(try program.run("images").succeed().text.split(separator: "\n").count == 2)

        // New snapshots are based on the old layers.
        #expect(try program.run("snapshot", "tree").succeed().text.hasSuffix("    \\_ mine\n"))
        _ = try program.run("prune").succeed()
        #expect(try program.tree(line) == tree)
        _ = try program.run("snapshot", "rm", "mine").succeed()
        let manifest = try program.rows("SELECT manifest FROM image").split(separator: "\n")
        #expect(try program.run("rm", String(manifest[0])).succeed().text.contains(": 2 layers removed, "))
        #expect(try Directory(opening: program.folder).names().isEmpty)
        // IDs of committed snapshots are never reused.
        _ = try program.line(image, "-q")
        #expect(try program.rows("SELECT min(id) FROM snapshot") == "4\n")
    }

    @Test("Processes that open it concurrently upgrade it once, and all succeed")
    func atOnce() throws {
        let all =
            try (1...4).map { _ in try program.start(image, "-q") }
            + (1...4).map { _ in try program.start("snapshot", "usage") }
        for command in try RunningCommand.finish(all) { #expect(command.status == 0, "\(command.report)") }
        #expect(try program.tree(line) == tree)
        try program.expectNothingLeftOver()
    }

    @Test(
        "A store of a later version is refused and not changed",
        arguments: [
            ["IMAGE", "-q"], ["images"], ["prune"], ["rm", "x"], ["snapshot", "ls"],
            ["snapshot", "rm", "mine"],
            ["snapshot", "prepare", "new"], ["verify"],
        ])
    func later(command: [String]) throws {
        _ = try program.rows("INSERT INTO grdb_migrations VALUES ('from the future')")
        _ = try program.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        let database = program.root.appending("metadata.db")
        let before = (try File.contents(of: database), try program.storeDump())
        let result = try program.run(command.map { $0 == "IMAGE" ? image : $0 })
        // verify has the exit statuses of fsck(8).
        #expect(result.status == (command == ["verify"] ? 8 : 69) && result.text == "", "\(result.report)")
        #expect(
            result.errorText
                == "unpack: the store \(program.root) was written by a newer version of this program\n"
                + "hint: use that version, or another store with --root DIR\n")
        #expect(try File.contents(of: database) == before.0)
        #expect(try program.storeDump() == before.1)
        #expect(try program.tree(line) == tree)
    }
}
