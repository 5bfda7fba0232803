import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("images, rm and prune", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct HousekeepingTests {
    private let program: Program
    private let layout: FilePath

    /// Two images with the same lowest layer. A third image, in another layout, has the name of the second one.
    init() throws {
        program = try Program()
        layout = program.scratch.path.appending("i")
        let builder = try ImageBuilder(at: layout)
        let layers = ["base", "one", "two", "three"].map { name in
            LayerBuilder(.file(Bytes(name), Bytes.noise(50_000)), .directory(Bytes("d-" + name)))
        }
        try builder.writeIndex([
            try builder.image([layers[0], layers[1]]).named("one"),
            try builder.image([layers[0], layers[2]]).named("two"),
        ])
        let other = try ImageBuilder(at: program.scratch.path.appending("other"))
        try other.writeIndex([try other.image([layers[3]]).named("two")])
    }

    private func unpack(_ name: String, _ options: String...) throws -> String {
        try program.run(["\(layout):\(name)", "-q"] + options).succeed().text.trimmingCharacters(
            in: .newlines)
    }

    private func unpackOther() throws {
        _ = try program.run("\(program.scratch.path)/other", "-q").succeed()
    }

    private func json(_ arguments: String...) throws -> Any {
        try JSONSerialization.jsonObject(with: Data(program.run(arguments).succeed().output))
    }

    @Test(
        "The size of a snapshot that was committed without one is measured when a command needs it",
        arguments: ["images", "rm", "prune"])
    func measuredLate(command: String) throws {
        _ = try unpack("one", "--sync", "none")
        #expect(try program.rows("SELECT count(*) FROM snapshot WHERE size IS NULL") == "2\n")
        if command == "prune" { _ = try program.rows("DELETE FROM image") }
        let text = try program.run(command == "rm" ? ["rm", "one"] : [command]).succeed().text
        // Disk usage of two files of 50,000 bytes and four directories.
        #expect(text.contains(/1[0-9][0-9]\.[0-9] kB/), "\(text)")
    }

    private struct Pruned {
        let bytes: Int
        let isDryRun: Bool
        /// Kind, name and reason.
        let items: [[String]]
        let itemBytes: [Int]
    }

    private func prune(_ options: String...) throws -> Pruned {
        let output = try program.run(["prune", "--json"] + options).succeed().output
        let document = try #require(try JSONSerialization.jsonObject(with: Data(output)) as? [String: Any])
        #expect(Set(document.keys) == ["dryRun", "diskUsage", "items"])
        let items = try #require(document["items"] as? [[String: Any]])
        return Pruned(
            bytes: try #require(document["diskUsage"] as? Int),
            isDryRun: try #require(document["dryRun"] as? Bool),
            items: items.map { item in ["kind", "name", "reason"].map { item[$0] as? String ?? "?" } },
            itemBytes: items.compactMap { $0["diskUsage"] as? Int })
    }

    /// The whole content of the store: rows, trees, names of runs.
    private func everything() throws -> String {
        let database = try Command.run("sqlite3", "\(program.root)/metadata.db", ".dump").succeed().text
        let runs = try Directory(opening: program.root.appending("runs")).names().map(\.description).sorted()
        return try [program.storeDump(), database, runs.joined(separator: "\n")].joined(separator: "\n")
    }

    private func directories() throws -> Set<String> {
        Set(try Directory(opening: program.folder).names().map(\.description))
    }

    // MARK: images

    @Test("images lists unpacked images with the disk usage of their layers")
    func images() throws {
        _ = try unpack("one")
        _ = try unpack("two")
        let lines = try program.run("images").succeed().text.split(separator: "\n").map {
            $0.split(separator: " ").map(String.init)
        }
        #expect(
            lines[0] == [
                "NAME", "DIGEST", "CHAIN", "ID", "PLATFORM", "LAYERS", "SIZE", "CREATED", "LAST", "USED",
            ])
        #expect(lines.dropFirst().map { $0[0] } == ["one", "two"])
        #expect(lines[1][1].count == 12 && lines[1][2].count == 12 && lines[1][3].hasPrefix("linux/"))
        #expect(Array(lines[1][4...6]) == ["2", "106.5", "kB"])
        #expect(lines[1].last == "ago" || lines[1].last == "now")

        let images = try #require(try json("images", "--json") as? [[String: Any]])
        #expect(
            Set(images[0].keys)
                == [
                    "names", "digest", "mediaType", "platform", "chainID", "created", "lastUsed", "diskUsage",
                    "layers",
                ])
        let digests = images.compactMap { $0["digest"] as? String }
        #expect(digests.map { String($0.dropFirst(7).prefix(12)) } == lines.dropFirst().map { $0[1] })
        #expect(try program.run("images", "-q").succeed().text == digests.map { $0 + "\n" }.joined())
        let layers = try #require(images[1]["layers"] as? [[String: Any]])
        #expect(Set(layers[0].keys) == ["digest", "diffID", "chainID", "size"])
        #expect(layers[1]["chainID"] as? String == images[1]["chainID"] as? String)
        // The size is what du reports for both layers.
        let du = try Command.run(
            "du", "-c", "-B1", "-s", "\(program.folder)/1/fs", "\(program.folder)/3/fs"
        ).succeed().text
        let total = try #require(du.split(separator: "\n").last)
        #expect(total.hasPrefix("\(try #require(images[1]["diskUsage"] as? Int))\t"), "\(du)")
    }

    // MARK: rm

    @Test("rm removes an image, and keeps layers that another image has")
    func remove() throws {
        let one = try unpack("one")
        let expected = try program.tree(one)
        _ = try unpack("two")
        let digest = try program.rows(
            "SELECT manifest FROM image JOIN image_name ON image = id WHERE name = 'two'")
        let given = digest.trimmingCharacters(in: .newlines)
        let said = try program.run("rm", given).succeed().text
        #expect(
            said == "\(given): 1 layer removed, 53.2 kB; 1 kept by:\n  the image one  (unpack rm one)\n")
        #expect(try program.tree(one) == expected)
        #expect(try directories() == ["1", "2"])
        #expect(try program.run("rm", "one").succeed().text == "one: 2 layers removed, 106.5 kB\n")
        #expect(try directories() == [])
        #expect(
            try program.run("images").succeed().text
                == "NAME DIGEST CHAIN ID PLATFORM LAYERS SIZE CREATED LAST USED\n")
        // The image can be unpacked again.
        #expect(try program.tree(try unpack("one")) == expected)
    }

    @Test("A name of two images is ambiguous: both are listed, and a digest selects one")
    func ambiguous() throws {
        _ = try unpack("two")
        try unpackOther()
        let result = try program.run("rm", "two")
        #expect(result.status == 64)
        #expect(
            result.errorText.matches(
                """
                unpack: 'two' is the name of 2 things in the store:
                  image sha256:*  linux/*  two
                  image sha256:*  linux/*  two
                hint: name one by its digest\n
                """), "\(result.report)")
        for digest in try program.rows("SELECT manifest FROM image").split(separator: "\n") {
            #expect(result.errorText.contains(digest))
            _ = try program.run("rm", String(digest)).succeed()
        }
        #expect(try directories() == [])
    }

    @Test("An unknown image is not found, and the images named before it are removed")
    func unknown() throws {
        _ = try unpack("one")
        let result = try program.run("rm", "one", "missing")
        #expect(result.status == 66 && result.text.hasPrefix("one: 2 layers removed"))
        #expect(
            result.errorText
                == "unpack: there is no image 'missing' in the store \(program.root)\nhint: list them with 'unpack images'\n"
        )
        let forced = try program.run("rm", "-f", "missing").succeed()
        #expect(forced.text.isEmpty && forced.errorText.isEmpty)
    }

    @Test("A writable snapshot keeps its layers until it is removed")
    func writable() throws {
        let line = try unpack("one", "--rw", "key")
        let tree = try program.tree(line)
        let said = try program.run("rm", "one").succeed().text
        #expect(said.hasPrefix("one: 0 layers removed, 0 B; 2 kept by:\n  the snapshot key "), "\(said)")
        #expect(try program.run("prune").succeed().text == "nothing to remove\n")
        #expect(try program.tree(line) == tree)
        _ = try program.run("snapshot", "rm", "key").succeed()
        let pruned = try prune()
        #expect(pruned.items.map { $0[2] } == ["no image needs it", "no image needs it"])
        #expect(try directories() == [])
    }

    // MARK: prune

    @Test("prune prints what it removes, why, and its size; a dry run prints the same and changes nothing")
    func dryRun() throws {
        let line = try unpack("one", "--rw", "key")
        let tree = try program.tree(line)
        _ = try unpack("two")
        _ = try program.run("rm", "two").succeed()
        _ = try unpack("two", "--rw", "other")
        _ = try program.run("rm", "two").succeed()
        _ = try program.run("snapshot", "rm", "other").succeed()
        // Leftovers of a crash: a directory without a row, one in the trash, a probe.
        for name in ["77/fs/deep", ".removed-1/fs", ".probe-2"] {
            let path = try program.scratch.makeDirectory("s/overlayfs/\(name)")
            try Data(count: 20_000).write(to: URL(fileURLWithPath: path.appending("f").string))
        }
        _ = try program.scratch.makeDirectory("s/overlayfs/not-ours")

        let before = try everything()
        let dry = try prune("--dry-run")
        let text = try program.run("prune", "--dry-run").succeed().text
        #expect(try everything() == before)
        #expect(dry.isDryRun)
        let chain = try program.rows("SELECT name FROM snapshot ORDER BY id DESC LIMIT 1").trimmingCharacters(
            in: .newlines)
        #expect(
            Set(dry.items) == [
                ["snapshot", chain, "no image needs it"],
                ["leftover", "77", "no snapshot has this directory"],
                ["leftover", ".removed-1", "it was being deleted"],
                ["leftover", ".probe-2", "no snapshot has this directory"],
            ], "\(dry.items)")
        #expect(dry.bytes == dry.itemBytes.reduce(0, +) && dry.bytes > 3 * 20_000 + 50_000)
        #expect(text.hasPrefix("NAME ") && text.contains("\n77 ") && text.hasSuffix(" would be freed\n"))

        let really = try prune()
        #expect(really.items == dry.items && really.bytes == dry.bytes && !really.isDryRun)
        let ids = try program.rows("SELECT id FROM snapshot").split(separator: "\n").map(String.init)
        #expect(try ids.count == 3 && directories() == Set(ids + ["not-ours"]))
        #expect(try program.tree(line) == tree)
        #expect(try prune().items == [])
        #expect(try program.run("prune").succeed().text == "nothing to remove\n")
    }

    @Test("prune lists and removes what a killed unpack leaves, also its finished layers")
    func killedRun() throws {
        let image = try program.image(
            (1...4).map { layer in
                LayerBuilder((1...1500).map { .file("\(layer)/\($0)", "content") })
            })
        var kinds = Set<String>()
        for delay in stride(from: UInt32(60), through: 600, by: 60) {
            let running = try program.start(image.path.string, "-q")
            Process.sleep(milliseconds: delay)
            running.kill()
            guard try running.finish().status != 0 else { break }
            // Killed before the database was complete, or before the first snapshot.
            guard let snapshots = try? program.rows("SELECT count(*) FROM snapshot"), snapshots != "0\n"
            else {
                continue
            }
            // Killed after the image was recorded: it keeps its layers.
            guard try program.rows("SELECT count(*) FROM image") == "0\n" else { break }
            let before = try everything()
            let dry = try prune("--dry-run")
            #expect(try everything() == before)
            let really = try prune("--wait")
            #expect(really.items == dry.items, "after \(delay) ms")
            kinds.formUnion(really.items.map { $0[0] + ": " + $0[2] })
            #expect(try directories() == [])
            try program.expectNothingLeftOver()
        }
        #expect(kinds.isSuperset(of: ["leftover: the process that was making it has ended"]), "\(kinds)")
        #expect(
            kinds.isSubset(of: [
                "snapshot: no image needs it", "leftover: the process that was making it has ended",
                "leftover: it was being deleted", "leftover: no snapshot has this directory",
            ]), "\(kinds)")
    }

    @Test("Layers that were not synced before a reboot are removed and listed")
    func distrusted() throws {
        _ = try unpack("one", "--sync", "none")
        _ = try program.rows("UPDATE snapshot SET boot = 'another'")
        let before = try everything()
        let dry = try prune("--dry-run")
        #expect(try everything() == before)
        #expect(
            dry.items.map { $0[2] }
                == Array(
                    repeating:
                        "it was not on the disk when the machine stopped, or inherited from its surroundings",
                    count: 2))
        let really = try prune()
        #expect(really.items == dry.items)
        #expect(try directories() == [])
        #expect(try program.rows("SELECT count(*) FROM image") == "0\n")
    }

    @Test("On a completely full disk every command reports that, and nothing is lost")
    func fullDisk() throws {
        _ = try program.scratch.makeDirectory("s")
        try Command.run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "unpack", program.root.string)
            .succeed()
        defer { try? unmountWhenFree(program.root) }
        let line = try unpack("one", "--rw", "key")
        let tree = try program.tree(line)
        let filler = program.root.appending("filler").string
        _ = try Command.run("dd", "if=/dev/zero", "of=\(filler)", "bs=4k")
        for command in [["images"], ["snapshot", "ls"], ["prune", "--dry-run"], ["prune"], ["rm", "one"]] {
            let result = try program.run(command)
            if result.status == 0 { continue }
            #expect(result.status == 74, "\(result.report)")
            #expect(
                result.errorText.contains("no space left on device\nhint: free some space"),
                "\(result.report)")
        }
        try FileManager.default.removeItem(atPath: filler)
        #expect(try program.tree(try unpack("one", "--rw", "key")) == tree)
        _ = try program.run("snapshot", "rm", "key").succeed()
        _ = try program.run("rm", "one").succeed()
        try program.expectNothingLeftOver()
    }

    @Test("A mounted snapshot is not removed", arguments: Snapshotter.possible)
    func mounted(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let image = try program.image([LayerBuilder(.file("a", "1")), LayerBuilder(.file("b", "2"))])
        let line = try program.line(image.path.string, "-q")
        let view = try program.run("snapshot", "view", "look").succeed().text
        try program.mounted(line) { root in
            let tree = try TreeDump(of: root)
            let removed = try program.run(
                "rm", "\(try program.rows("SELECT manifest FROM image").dropLast())"
            ).succeed()
            #expect(
                removed.text.contains(" kept by:\n  a mount on \(program.target)  (unpack umount"),
                "\(removed.text)")
            _ = try program.run("prune").succeed()
            #expect(try TreeDump(of: root) == tree)
        }
        try program.mounted(String(view.dropLast())) { _ in
            let refused = try program.run("snapshot", "rm", "look")
            #expect(refused.status == 69)
            #expect(refused.errorText.contains("cannot remove 'look': it is mounted on '\(program.target)'"))
        }
        _ = try program.run("snapshot", "rm", "look").succeed()
        _ = try program.run("prune").succeed()
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "0\n")
    }

    @Test("prune keeps snapshots that a user created")
    func byHand() throws {
        for command in [
            ["prepare", "work"], ["prepare", "tmp"], ["commit", "base", "tmp"], ["view", "look", "base"],
        ] {
            _ = try program.run(["snapshot"] + command).succeed()
        }
        #expect(try prune().items == [])
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "3\n")
    }

    @Test(
        "Snapshotters that share a root do not touch each other's snapshots",
        arguments: Snapshotter.possible.filter { $0 != .overlayfs })
    func neighbours(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let image = try program.image([
            LayerBuilder(.file("a", "1")), LayerBuilder(.file("b", "2"), .file(".wh.a")),
        ])
        let own = try program.line(image.path.string, "-q")
        let beside = try program.line(image.path.string, "-q", "--snapshotter", "overlayfs")
        let tree = try program.tree(own)
        #expect(try program.tree(beside) == tree)
        func rows(_ name: String) throws -> String {
            try program.rows("SELECT id, name, kind FROM snapshot WHERE snapshotter = '\(name)'")
        }
        let (owns, besides) = (try rows(snapshotter.rawValue), try rows("overlayfs"))
        #expect(owns.split(separator: "\n").count == 2 && besides.split(separator: "\n").count == 2)

        _ = try program.run("prune", "--snapshotter", "overlayfs").succeed()
        _ = try program.run("prune").succeed()
        let reference = try program.rows("SELECT manifest FROM image LIMIT 1").trimmingCharacters(
            in: .newlines)
        _ = try program.run("rm", reference, "--snapshotter", "overlayfs").succeed()
        #expect(try rows("overlayfs") == "" && rows(snapshotter.rawValue) == owns)
        #expect(try Directory(opening: program.root.appending("overlayfs")).names().isEmpty)
        #expect(try program.tree(own) == tree)

        let again = try program.line(image.path.string, "-q", "--snapshotter", "overlayfs")
        _ = try program.run("rm", reference).succeed()
        #expect(try rows(snapshotter.rawValue) == "")
        #expect(try program.tree(again) == tree)
        try program.expectNothingLeftOver()
    }
}
