import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

@Suite(.enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct UnpackTests {
    @Test("Every fixture mounts; gzip, zstd and plain layers give the same tree")
    func sameTreeFromEveryCompression() throws {
        var trees = [TreeDump]()
        for name in ["busybox", "busybox-zstd", "busybox-tar"] {
            let program = try Program()
            trees.append(try program.tree(try program.line("\(Program.fixtures)/\(name)")))
        }
        #expect(trees[0].text == trees[1].text)
        #expect(trees[0].text == trees[2].text)
        #expect(trees[0]["."]?.contains("711") == true)
    }

    @Test("The tree is the same as umoci's", .enabled(if: TestEnvironment.has("umoci"), "needs umoci"))
    func sameTreeAsUmoci() throws {
        let program = try Program()
        let ours = try program.tree(try program.line("\(Program.fixtures)/busybox"))
        try Command.run(
            "umoci", "unpack", "--image", "\(Program.fixtures)/busybox:busybox:1.0",
            "\(program.scratch.path)/u"
        )
        .succeed()
        let theirs = try TreeDump(of: try Directory(opening: program.scratch.path.appending("u/rootfs")))
        // umoci gives the current time to directories that no entry lists, and to the directories in which it creates
        // them.
        let without = ["usr/share ", "usr/share/implicit ", "usr/share/implicit/deep "]
        func comparable(_ dump: TreeDump) -> [String] {
            dump.lines.filter { line in !without.contains { line.hasPrefix($0) } }
        }
        #expect(comparable(ours).count > 100)
        #expect(comparable(ours) == comparable(theirs))
    }

    @Test("The program in the image runs in a chroot")
    func chroot() throws {
        let program = try Program()
        let line = try program.line("\(Program.fixtures)/busybox", "--snapshotter", "overlayfs")
        let said = try program.mounted(line) { _ in
            try Command.run("chroot", program.target.string, "/bin/busybox", "echo", "hello").succeed().text
        }
        #expect(said == "hello\n")
    }

    @Test("Any number of layers mounts, and every layer is present", arguments: [1, 2, 3, 127, 300])
    func layerCounts(count: Int) throws {
        let program = try Program()
        let image = try program.image((1...count).map { LayerBuilder(.file("marker-\($0)", "\($0)")) })
        let line = try program.line(image.path.string)
        #expect(line.split(separator: " ").allSatisfy { $0.utf8.count <= 4095 + "lowerdir".utf8.count })
        if count == 1 { #expect(line.hasPrefix("mount -o bind,ro ")) }
        let names = try program.mounted(line) { directory in
            // The mount is read-only for any number of layers.
            #expect(throws: (any Error).self) {
                try directory.makeDirectory(FileName(literal: "new"), mode: 0o755)
            }
            return Set(try directory.names().map(\.description))
        }
        #expect(names == Set((1...count).map { "marker-\($0)" }))
    }

    @Test("A line that mount(8) would truncate is never printed: unpack mount performs the mount")
    func longLine() throws {
        let program = try Program()
        let image = try program.image((1...127).map { LayerBuilder(.file("marker-\($0)", "")) })
        let line = try program.line(image.path.string)
        let chain = try program.run("inspect", "--json", image.path.string).succeed().text
        #expect(
            line.hasPrefix("\(Program.path.lexicallyNormalized()) mount --root \(program.root) store:sha256:")
        )
        #expect(chain.contains(try #require(line.split(separator: " ").last).dropFirst("store:".count)))
    }

    @Test("An image with sha512 digests is unpacked, also one that is embedded in its index")
    func longDigests() throws {
        let program = try Program()
        let builder = try ImageBuilder(at: program.scratch.path.appending("i"), .sha512)
        let image = try builder.image([LayerBuilder(.file("one", "1")), LayerBuilder(.file("two", "2"))])
        let manifest = try File.contents(of: builder.blobPath(image.digest))
        try builder.removeBlob(image)
        try builder.writeIndex([image.embedding(manifest)])
        let tree = try program.tree(try program.line(builder.path.string))
        #expect(tree["one"] != nil && tree["two"] != nil)
        let chains = try program.rows("SELECT substr(diff_id, 1, 6), substr(chain_id, 1, 6) FROM image_layer")
        #expect(chains == "sha512|sha512\nsha512|sha256\n")
    }

    @Test("With --rw writes go to the upper directory, and the same key gives the same line")
    func writable() throws {
        let program = try Program()
        let image = try program.image([
            LayerBuilder(
                .directory("./", mode: 0o1710).owned(7, 8).at(1234, 5678).xattr("user.colour", "red")),
            LayerBuilder(.file("file", "lower")),
        ])
        let readOnly = try program.line(image.path.string)
        let line = try program.line(image.path.string, "--rw", "job-1")
        #expect(line.contains("upperdir="))
        let (before, after) = (try program.tree(readOnly), try program.tree(line))
        #expect(before.text == after.text)
        try program.mounted(line) { try $0.removeFile(FileName(literal: "file")) }
        #expect(try program.tree(readOnly)["file"] != nil)
        #expect(try program.line(image.path.string, "--rw", "job-1") == line)
        #expect(try program.tree(line)["file"] == nil)
    }

    @Test("A key of a snapshot on another chain is refused, and both chains are named")
    func keyTaken() throws {
        let program = try Program()
        let first = try program.image([LayerBuilder(.file("one", ""))])
        let second = try program.image([LayerBuilder(.file("two", ""))])
        _ = try program.line(first.path.string, "--rw", "key")
        let refused = try program.run(second.path.string, "--rw", "key", "--quiet")
        #expect(refused.status == 64)
        #expect(refused.errorText.components(separatedBy: "sha256:").count == 3)
    }

    @Test(
        "A second run prints the same line, changes nothing, and opens no layer blob",
        .enabled(if: TestEnvironment.has("strace"), "needs strace"))
    func secondRun() throws {
        let program = try Program()
        let image = "\(Program.fixtures)/busybox"
        let line = try program.line(image)
        let before = try (program.storeDump(), program.rows("SELECT * FROM snapshot; SELECT * FROM image"))
        let trace = program.scratch.path.appending("trace").string
        let again = try Command.run(
            "strace", "-f", "-e", "trace=openat,openat2,open", "-o", trace, Program.path.string, image,
            // LeakSanitizer does not work in a traced process.
            environment: ["UNPACK_ROOT": program.root.string, "ASAN_OPTIONS": "detect_leaks=0"]
        ).succeed()
        #expect(again.text == line + "\n")
        #expect(again.errorText == "")
        let after = try (program.storeDump(), program.rows("SELECT * FROM snapshot; SELECT * FROM image"))
        #expect(before == after)
        let opened = try String(contentsOfFile: trace, encoding: .utf8)
        let layers = try program.rows("SELECT digest FROM image_layer").split(separator: "\n")
        #expect(layers.count == 5)
        for layer in layers { #expect(!opened.contains(layer.dropFirst("sha256:".count))) }
    }

    @Test("--target is part of the line, so that the line can be piped into a shell")
    func target() throws {
        let program = try Program()
        let line = try program.line("\(Program.fixtures)/busybox", "--target", program.target.string)
        #expect(line.hasSuffix(" \(program.target)"))
        try Command.run("sh", "-e", input: Array((line + "\n").utf8)).succeed()
        defer { _ = try? Command.run(Program.path.string, "umount", program.target.string).succeed() }
        #expect(FileManager.default.isExecutableFile(atPath: "\(program.target)/bin/busybox"))
    }

    @Test("--format json is one line with the complete result, --format path lists the layers topmost first")
    func formats() throws {
        let program = try Program()
        let image = "\(Program.fixtures)/busybox"
        let text = try program.line(image, "--format", "json")
        let json = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(json["schemaVersion"] as? Int == 1)
        #expect(json["readonly"] as? Bool == true)
        #expect(json["platform"] as? String == "linux/amd64")
        #expect((json["image"] as? [String: Any])?["name"] as? String == "busybox:1.0")
        #expect((json["config"] as? [String: Any])?["Cmd"] != nil)
        let layers = try #require(json["layers"] as? [[String: Any]])
        #expect(layers.count == 5)
        #expect(layers.allSatisfy { $0["cached"] as? Bool == false })
        #expect(json["chainID"] as? String == layers.last?["chainID"] as? String)
        let mounts = try #require(json["mounts"] as? [[String: Any]])
        #expect(mounts.count == 1 && mounts[0]["type"] as? String == "overlay")
        let paths = try program.run(image, "--format", "path").succeed().text.split(separator: "\n").map(
            String.init)
        #expect(paths == layers.reversed().compactMap { $0["path"] as? String })
    }

    @Test("unpack mount mounts an image, a chain and a key, and checks the number of layers")
    func mountCommand() throws {
        let program = try Program()
        let image = try program.image((1...30).map { LayerBuilder(.file("marker-\($0)", "")) })
        let target = program.target.string
        let json = try program.run(image.path.string, "--format", "json", "--rw", "key").succeed().text
        let decoded = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any]
        let chain = try #require(decoded?["chainID"] as? String)
        for what in [image.path.string, chain, "key"] {
            try program.run("mount", what, target).succeed()
            #expect(try Directory(opening: program.target).names().count == 30)
            try program.run("umount", target).succeed()
        }
        #expect(try program.run("umount", target).status == 64)
        let refused = try program.run("mount", chain, target, "--rw", "key")
        #expect(refused.status == 64, "\(refused.report)")
        // Two mounts of one upper directory would corrupt it.
        try program.run("mount", "key", target).succeed()
        let twice = try program.run("mount", "key", try program.scratch.makeDirectory("other").string)
        #expect(twice.status == 69 && twice.errorText.contains(target), "\(twice.report)")
        try program.run("umount", target).succeed()
        #expect(try program.run("mount", "sha256:" + String(repeating: "0", count: 64), target).status == 66)
    }

    @Test("Two concurrent processes unpack each layer once, and print the same line")
    func twoAtOnce() throws {
        let program = try Program()
        let layers = (1...6).map { layer in
            LayerBuilder((1...400).map { .file("layer-\(layer)/file-\($0)", "content of \($0)") })
        }
        let image = try program.image(layers)
        let both = try Command.run(
            "sh", "-c", #""$0" "$1" -q >a & "$0" "$1" -q >b; second=$?; wait $! && cat a b && exit $second"#,
            Program.path.string, image.path.string, environment: ["UNPACK_ROOT": program.root.string],
            in: program.scratch.path
        ).succeed()
        let lines = both.text.split(separator: "\n")
        #expect(lines.count == 2 && lines[0] == lines[1])
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "6\n")
        #expect(try program.rows("SELECT max(id) FROM snapshot") == "6\n")
        #expect(try program.tree(String(lines[0])).lines.count == 6 * 401 + 1)
    }

    @Test("A store on an overlay file system shows the same tree, and refuses writable snapshots")
    func storeOnOverlay() throws {
        let program = try Program()
        let image = try program.image([
            LayerBuilder(.file("a", "1"), .file("d/b", "1"), .file("o/c", "1"), .file("e/f", "1")),
            LayerBuilder(.file(".wh.a"), .file("d/.wh.b"), .file("o/.wh..wh..opq"), .file("o/n", "2")),
            LayerBuilder(.file("d/b", "3"), .file(".wh.e")),
        ]).path.string
        let expected = try program.tree(try program.line(image))
        #expect(expected["d/b"] != nil && expected["a"] == nil && expected["o/c"] == nil)
        let below = try Program()
        for name in ["l", "u", "w", "s"] { _ = try below.scratch.makeDirectory(name) }
        let folder = below.scratch.path
        try Command.run(
            "mount", "-t", "overlay", "unpack", "-o",
            "lowerdir=\(folder)/l,upperdir=\(folder)/u,workdir=\(folder)/w", below.root.string
        ).succeed()
        defer { _ = try? Command.run("umount", below.root.string) }
        guard TestEnvironment.canMountAttributeWhiteouts else {
            let result = try below.run(image)
            #expect(result.status == 69 && result.errorText.contains("--root DIR"), "\(result.report)")
            return
        }
        let tree = try below.tree(try below.line(image))
        #expect(tree == expected)
        let result = try below.run(image, "--rw", "key")
        #expect(result.status == 69, "\(result.report)")
        #expect(
            result.errorText.contains("nothing in it can be mounted writable\nhint: "), "\(result.report)")
    }

    @Test(
        "Writeback begins while a large image is unpacked, and one sync is enough for a small one",
        .enabled(if: TestEnvironment.has("strace"), "needs strace"),
        arguments: [("fs", 1, 1...1), ("fs", 160, 2...20), ("none", 80, 0...0)]
            as [(String, Int, ClosedRange<Int>)])
    func syncs(durability: String, megabytes: Int, expected: ClosedRange<Int>) throws {
        let program = try Program()
        let trace = program.scratch.path.appending("trace").string
        let megabyte = Bytes.noise(1 << 20).array
        var content = [UInt8]()
        for _ in 1...megabytes { content += megabyte }
        let image = try program.image([LayerBuilder(.file("one", Bytes(content)))], packing: .none)
        _ = try Command.run(
            "strace", "-f", "-e", "trace=syncfs,pwrite64", "-o", trace, Program.path.string,
            image.path.string,
            "--root", program.root.string, "-q", "--sync", durability,
            environment: ["ASAN_OPTIONS": "detect_leaks=0"]
        ).succeed()
        let syncs =
            try String(contentsOfFile: trace, encoding: .utf8).components(separatedBy: "syncfs(").count - 1
        #expect(expected.contains(syncs), "\(syncs) of them")
    }

    @Test(
        "Each thread that applies entries restricts itself with Landlock first",
        .enabled(if: TestEnvironment.has("strace") && Landlock.isAvailable, "needs strace and Landlock"))
    func confined() throws {
        let program = try Program()
        let trace = program.scratch.path.appending("trace").string
        let image = try program.image([LayerBuilder(.file("one")), LayerBuilder(.file("two"))])
        _ = try Command.run(
            "strace", "-f", "-e", "trace=landlock_restrict_self,openat", "-o", trace, Program.path.string,
            image.path.string, "--root", program.root.string, "-q",
            environment: ["ASAN_OPTIONS": "detect_leaks=0"]
        ).succeed()
        let lines = try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n")
        for name in ["one", "two"] {
            let made = try #require(lines.firstIndex { $0.contains("\"\(name)\", O_WRONLY|O_CREAT|O_EXCL") })
            let thread = try #require(lines[made].split(separator: " ").first)
            #expect(
                lines[..<made].contains {
                    $0.hasPrefix(thread + " ") && $0.contains("landlock_restrict_self")
                },
                "\(name)")
        }
    }
}
