import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// What `unpack images` shows names an image, a chain or a snapshot in every command.
@Suite("Names of the store", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct StoreNameTests {
    private let program: Program
    private let layout: FilePath

    /// One image under two names, and another one.
    init() throws {
        program = try Program()
        layout = program.scratch.path.appending("i")
        let builder = try ImageBuilder(at: layout)
        let one = try builder.image([LayerBuilder(.file("one", "1"))])
        let two = try builder.image([LayerBuilder(.file("two", "2"))])
        try builder.writeIndex([one.named("app:1"), one.named("app:latest"), two.named("other")])
    }

    private func unpack(_ name: String, _ options: String...) throws -> String {
        try program.run(["\(layout):\(name)", "-q"] + options).succeed().text.trimmingCharacters(
            in: .newlines)
    }

    private func images() throws -> [[String: Any]] {
        let output = try program.run("images", "--json").succeed().output
        return try #require(try JSONSerialization.jsonObject(with: Data(output)) as? [[String: Any]])
    }

    @Test("A record has all names of its image; rm takes one away, and the image with the last")
    func severalNames() throws {
        _ = try unpack("app:1")
        _ = try unpack("app:latest")
        _ = try unpack("app:latest")
        let all = try images()
        #expect(all.count == 1 && all[0]["names"] as? [String] == ["app:1", "app:latest"])
        let first = try program.run("rm", "app:1").succeed()
        #expect(first.text == "app:1: name removed; the image stays as app:latest\n")
        #expect(try program.run("rm", "app:1").status == 66)
        let last = try program.run("rm", "app:latest").succeed()
        #expect(last.text.matches("app:latest: 1 layer removed, * kB\n"), "\(last.report)")
        #expect(try images().isEmpty)
        _ = try unpack("app:1")
        _ = try unpack("app:latest")
        let digest = try #require(try images()[0]["digest"] as? String)
        try program.run("rm", digest).succeed()
        #expect(try images().isEmpty)
    }

    @Test(
        "An unpacked image gives its line and its JSON again, by its name, its digest or the beginning of that"
    )
    func unpackedAlready() throws {
        let line = try unpack("app:1")
        let json = try program.run("\(layout):app:1", "-q", "--json").succeed().text
        let image = try images()[0]
        let digest = try #require(image["digest"] as? String)
        let short = String(digest.dropFirst("sha256:".count).prefix(12))
        for name in ["app:1", digest, short, "sha256:" + short, "store:app:1"] {
            #expect(try program.run(name).succeed().text == line + "\n", "\(name)")
            #expect(try program.run(name, "--json").succeed().text == json, "\(name)")
        }
        let bundle = program.scratch.path.appending("b")
        try program.run("app:1", "--bundle", bundle.string, "-q").succeed()
        #expect(FileManager.default.fileExists(atPath: bundle.appending("config.json").string))
        #expect(try program.run("app:1", "--ref", "x").status == 64)
        try program.run("snapshot", "prepare", "key").succeed()
        let refused = try program.run("key")
        #expect(refused.status == 64)
        #expect(
            refused.errorText.contains(
                "'key' is a snapshot, not an image\nhint: mount it: unpack mount key DIR"))
    }

    @Test("mount, ls, diff, verify and snapshot take what images shows")
    func everywhere() throws {
        _ = try unpack("app:1")
        _ = try unpack("other", "--rw", "job-1")
        let table = try program.run("images").succeed().text.split(separator: "\n").map {
            $0.split(separator: " ", omittingEmptySubsequences: true).map(String.init)
        }
        let row = try #require(table.first { $0[0] == "app:1" })
        let (digest, chain) = (row[1], row[2])
        #expect(digest.count == 12 && chain.count == 12 && digest != chain)
        for name in ["app:1", digest, chain] {
            try program.run("mount", name, program.target.string).succeed()
            #expect(FileManager.default.fileExists(atPath: program.target.appending("one").string))
            try program.run("umount", program.target.string).succeed()
            #expect(try program.run("ls", name, "/").succeed().text.hasSuffix(" one\n"))
            #expect(try program.run("diff", name, "other").succeed().text == "D /one\nA /two\n")
            #expect(try program.run("diff", name, "job-1").succeed().text == "D /one\nA /two\n")
            #expect(try program.run("diff", "\(layout):app:1", name).succeed().text == "")
            try program.run("verify", name).succeed()
        }
        #expect(try program.run("snapshot", "stat", chain).succeed().text.contains(chain))
        try program.run("snapshot", "prepare", "mine", chain).succeed()
        try program.run("mount", "app:1", "--rw", "job", program.target.string).succeed()
        try program.run("umount", program.target.string).succeed()
        #expect(try program.run("images", "-q").succeed().text.split(separator: "\n").count == 2)
        #expect(try program.run("images", "--no-trunc").succeed().text.contains("sha256:"))
    }

    @Test(
        "why of an image in the store lists the layers that made a difference",
        arguments: ["overlayfs", "native", "loop", "erofs"])
    func history(snapshotter: String) throws {
        if snapshotter == "loop", !TestEnvironment.canMountExt4 {
            try Test.cancel("needs loop devices and ext4")
        }
        if snapshotter == "erofs", !TestEnvironment.canMountErofs {
            try Test.cancel("cannot mount EROFS images")
        }
        let builder = try ImageBuilder(at: program.scratch.path.appending("many"))
        let layers: [[TarEntry]] = [
            [.file("usr/lib/f", "1").at(1), .file("usr/lib/g", "g").at(1), .symlink("lib", to: "usr/lib")],
            [.file("usr/lib/f", "1").at(1), .file("etc", "no directory")],
            [.file("usr/lib/f", "1").mode(0o600).at(1), .whiteout("usr/lib/g")],
            [.file("usr/lib/f", "2").at(1)],
        ]
        try builder.writeIndex([try builder.image(layers.map { LayerBuilder($0) }).named("many")])
        try program.run(builder.path.string, "--snapshotter", snapshotter, "-q").succeed()
        func why(_ arguments: String...) throws -> Command {
            try program.run(["why", "store:many"] + arguments + ["--snapshotter", snapshotter])
        }
        func lines(_ path: String) throws -> [String] {
            try why(path).succeed().text.split(separator: "\n").map { line in
                line.hasPrefix("layer ")
                    ? "\(line.dropFirst(6).prefix(1)) \(line.split(separator: " ").last ?? "")" : "\(line)"
            }
        }
        #expect(
            try lines("lib/f") == [
                "1 added", "3 changed", "4 replaced",
                "'/usr/lib/f' is a file of 1 bytes, mode 0644, owner 0:0",
            ])
        #expect(try lines("/lib/g") == ["1 added", "3 removed", "'/usr/lib/g' is not in the image"])
        #expect(try lines("lib") == ["1 added", "'/lib' is a symlink to 'usr/lib', mode 0777, owner 0:0"])
        #expect(try lines("etc") == ["2 added", "'/etc' is a file of 12 bytes, mode 0644, owner 0:0"])
        #expect(try why("etc/x").status == 66)
        let json = try JSONSerialization.jsonObject(with: Data(try why("lib/f", "--json").succeed().output))
        let document = try #require(json as? [String: Any])
        let found = try #require(document["layers"] as? [[String: Any]])
        #expect(found.map { $0["layer"] as? Int } == [1, 3, 4])
        #expect(found.allSatisfy { ($0["entries"] as? [Any])?.isEmpty == true })
        #expect((document["file"] as? [String: Any])?["links"] == nil)
        try program.run("snapshot", "prepare", "key", "--snapshotter", snapshotter).succeed()
        let refused = try program.run("why", "key", "/", "--snapshotter", snapshotter)
        #expect(refused.status == 64 && refused.errorText.contains("'key' is a snapshot"))
    }

    @Test("An existing path takes precedence, except over a whole digest and a name after store:")
    func precedence() throws {
        _ = try unpack("app:1")
        let chain = try #require(try images()[0]["chainID"] as? String)
        let folder = try program.scratch.makeDirectory("cwd")
        for name in ["app:1", chain] { _ = try program.scratch.makeDirectory("cwd/\(name)") }
        func mount(_ name: String) throws -> Command {
            try Command.run(
                [Program.path.string, "mount", name, program.target.string],
                environment: ["UNPACK_ROOT": program.root.string, "UNPACK_CONFIG": ""], in: folder)
        }
        let refused = try mount("app:1")
        #expect(refused.status == 65)
        #expect(refused.errorText.hasSuffix("\nhint: the one of this name in the store is store:app:1\n"))
        for name in ["store:app:1", chain] {
            try mount(name).succeed()
            try program.run("umount", program.target.string).succeed()
        }
    }

    @Test("An ambiguous name lists what it could be")
    func ambiguous() throws {
        _ = try unpack("app:1")
        let other = try ImageBuilder(at: program.scratch.path.appending("other"))
        try other.writeIndex([try other.image([LayerBuilder(.file("three", "3"))]).named("app:1")])
        try program.run(other.path.string, "-q").succeed()
        for arguments in [["rm", "app:1"], ["mount", "app:1", program.target.string], ["app:1"]] {
            let result = try program.run(arguments)
            #expect(result.status == 64 && result.text == "")
            let digests = try images().compactMap { $0["digest"] as? String }
            #expect(
                result.errorText == """
                    unpack: 'app:1' is the name of 2 things in the store:
                      image \(digests[0])  linux/amd64  app:1
                      image \(digests[1])  linux/amd64  app:1
                    hint: name one by its digest

                    """)
        }
    }

    @Test("rm says what keeps layers, with the command that ends it")
    func keepers() throws {
        _ = try unpack("app:1", "--rw", "job")
        let bundle = program.scratch.path.appending("b")
        try program.run("\(layout):app:1", "-q", "--bundle", bundle.string).succeed()
        let key = try program.rows("SELECT name FROM snapshot WHERE name LIKE 'bundle%'").dropLast()
        let removed = try program.run("rm", "app:1").succeed()
        #expect(
            removed.text == """
                app:1: 0 layers removed, 0 B; 1 kept by:
                  the snapshot job  (unpack snapshot rm job)
                  the bundle \(bundle)  (unpack snapshot rm \(key))

                """)
    }

    @Test("The snapshot of a bundle is removed by prune after the directory, and never before")
    func removedBundle() throws {
        let bundle = program.scratch.path.appending("b")
        try program.run("\(layout):app:1", "-q", "--bundle", bundle.string).succeed()
        try program.run("rm", "app:1").succeed()
        #expect(try program.run("prune").succeed().text == "nothing to remove\n")
        try FileManager.default.removeItem(atPath: bundle.string)
        let plan = try program.run("prune", "-n").succeed().text
        #expect(plan.contains("the directory of its bundle was removed"))
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "2\n")
        #expect(try program.run("prune").succeed().text.contains("the directory of its bundle was removed"))
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "0\n")
        try program.expectNothingLeftOver()
    }

    @Test("A bundle is not gone if its file system is not mounted")
    func unmountedBundle() throws {
        let disk = try program.scratch.makeDirectory("disk")
        try Command.run("mount", "-t", "tmpfs", "tmpfs", disk.string).succeed()
        let bundle = disk.appending("b")
        try program.run("\(layout):app:1", "-q", "--bundle", bundle.string).succeed()
        try Command.run("umount", disk.string).succeed()
        #expect(try program.run("prune").succeed().text == "nothing to remove\n")
        #expect(try program.rows("SELECT count(*) FROM snapshot WHERE kind = 'active'") == "1\n")
    }

    @Test("Images are pruned by age and by size, the least recently used first, and not while they are used")
    func policy() throws {
        for name in ["app:1", "other"] { _ = try unpack(name) }
        // The first one was last used a week before the second one.
        _ = try program.rows(
            "UPDATE image SET used = used - 604800000000000 WHERE id = (SELECT min(id) FROM image)")
        #expect(try program.run("prune", "--older-than", "8d").succeed().text == "nothing to remove\n")
        let plan = try program.run("prune", "-n", "--older-than", "6d").succeed().text
        #expect(plan.contains("app:1") && !plan.contains("other"))
        #expect(try program.run("prune", "--keep-bytes", "1G").succeed().text == "nothing to remove\n")
        let size = try #require(try images()[1]["diskUsage"] as? Int)
        let bySize = try program.run("prune", "-n", "--keep-bytes", "\(size)").succeed().text
        #expect(bySize.contains("app:1") && !bySize.contains("other"))
        let kept = try program.run("prune", "-n", "--keep-bytes", "0", "--keep", "app:1").succeed().text
        #expect(!kept.contains("app:1") && kept.contains("other"))
        try program.run("mount", "store:app:1", program.target.string).succeed()
        #expect(
            try !program.run("prune", "--keep-bytes", "0", "--keep", "other").succeed().text.contains("app:1")
        )
        try program.run("umount", program.target.string).succeed()
        try program.run("prune", "--keep-bytes", "0").succeed()
        #expect(try images().isEmpty)
        try program.expectNothingLeftOver()
        for wrong in [["--older-than", "week"], ["--keep-bytes", "x"], ["--keep", "a"]] {
            #expect(try program.run(["prune"] + wrong).status == 64)
        }
    }

    @Test("A mount that is in use is not unmounted, and its users are named")
    func busy() throws {
        _ = try unpack("app:1")
        try program.run("mount", "app:1", program.target.string).succeed()
        let sleeper = try RunningCommand(["sleep", "1000"], in: program.target)
        let refused = try program.run("umount", program.target.string)
        #expect(refused.status == 75)
        #expect(
            refused.errorText.matches(
                """
                unpack: '\(program.target)' is in use:
                  sleep, process *
                hint: end that and try again, or detach it with 'unpack umount --lazy'

                """), "\(refused.report)")
        try program.run("umount", "-l", program.target.string).succeed()
        sleeper.send(SIGKILL)
        _ = try sleeper.finish()
    }

    @Test("Options known from other programs work")
    func habits() throws {
        let image = "\(layout):app:1"
        _ = try unpack("app:1")
        let json = try program.run(
            image, "-q", "--platform", Platform.host.architecture, "-f", "json", "-j", "1", "--ro"
        ).succeed()
        #expect(json.text.hasPrefix("{\"chainID\":"))
        #expect(try program.run(image, "-q", "--json", "--max-bytes", "20G").succeed().text == json.text)
        #expect(try program.run("ls", "-l", image, "/").succeed().text.hasSuffix(" one\n"))
        for listing in [
            ["images"], ["prune", "-n"], ["verify"], ["config"], ["inspect", image], ["ls", image],
            ["snapshot", "ls"], ["snapshot", "tree"], ["snapshot", "usage"], ["rm", "-f", "nothing"],
        ] {
            let short = try program.run(listing + ["--json"]).succeed().output
            #expect(try program.run(listing + ["--format", "json"]).succeed().output == short, "\(listing)")
            for line in short.split(separator: 0x0A) {
                #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(line)) }
            }
        }
        let refused = try program.run(image, "--ro", "--rw", "key")
        #expect(refused.status == 64 && refused.errorText == "unpack: --ro and --rw exclude each other\n")
    }
}
