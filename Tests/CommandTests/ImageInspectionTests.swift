import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

@Suite("Inspecting images")
struct ImageInspectionTests {
    private let scratch: TemporaryDirectory
    private let image: String

    init() throws {
        scratch = try TemporaryDirectory()
        image = try Self.write(
            [
                [
                    .directory("usr/lib", mode: 0o2755).owned(1, 2).at(1_700_000_000, 5),
                    .file("usr/lib/a", "12345").mode(0o4750).xattr("user.a", "1"), .file("usr/lib/b", "1"),
                    .symlink("lib", to: "usr/lib"), .file("etc/x", "1"), .file("etc/y", "1"),
                    .character("null", 1, 3), .file("new\nline"), .file(Bytes([0xFF])),
                ],
                [
                    .hardLink("lib/c", to: "lib/a").mode(0o600), .file("etc/.wh.x"),
                    .file("gone/.wh..wh..opq"),
                ],
                [.file("etc/.wh..wh..opq"), .file("etc/z", "22"), .file("lib/b", "2")],
            ], to: scratch.path.appending("i"))
    }

    @discardableResult
    private static func write(_ stack: [[TarEntry]], to path: FilePath) throws -> String {
        let builder = try ImageBuilder(at: path)
        try builder.writeIndex([try builder.image(stack.map { LayerBuilder($0) })])
        return path.string
    }

    private func unpack(_ arguments: String...) throws -> Command {
        try Command.run(
            [Program.path.string] + arguments,
            environment: ["UNPACK_ROOT": scratch.path.appending("none").string])
    }

    private func objects(_ arguments: String...) throws -> [[String: Any]] {
        let result = try Command.run([Program.path.string] + arguments).succeed()
        return try result.text.split(separator: "\n").map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
    }

    // MARK: ls

    @Test(
        "The content of a directory is listed, a file itself, and with -R everything below with absolute paths"
    )
    func list() throws {
        #expect(
            try unpack("ls", image).succeed().text == #"""
                drwxr-xr-x 0:0   - 1970-01-01 00:00:00 etc
                lrwxrwxrwx 0:0   7 1970-01-01 00:00:00 lib -> usr/lib
                -rw-r--r-- 0:0   0 1970-01-01 00:00:00 new\x0aline
                crw-r--r-- 0:0 1,3 1970-01-01 00:00:00 null
                drwxr-xr-x 0:0   - 1970-01-01 00:00:00 usr
                -rw-r--r-- 0:0   0 1970-01-01 00:00:00 \xff

                """#)
        let lib = """
            -rw-------+ 0:0 5 1970-01-01 00:00:00 a
            -rw-r--r--  0:0 1 1970-01-01 00:00:00 b
            -rw-------+ 0:0 5 1970-01-01 00:00:00 c

            """
        for path in ["usr/lib", "/lib/", "lib/../lib/."] {
            #expect(try unpack("ls", image, path).succeed().text == lib)
        }
        #expect(
            try unpack("ls", image, "lib").succeed().text
                == "lrwxrwxrwx 0:0 7 1970-01-01 00:00:00 /lib -> usr/lib\n")
        #expect(try unpack("ls", image, #"\xff"#).succeed().text.hasSuffix(" /\\xff\n"))
        #expect(
            try unpack("ls", image, "usr", "-R").succeed().text == """
                drwxr-xr-x  0:0 - 1970-01-01 00:00:00 /usr
                drwxr-sr-x  1:2 - 2023-11-14 22:13:20 /usr/lib
                -rw-------+ 0:0 5 1970-01-01 00:00:00 /usr/lib/a
                -rw-r--r--  0:0 1 1970-01-01 00:00:00 /usr/lib/b
                -rw-------+ 0:0 5 1970-01-01 00:00:00 /usr/lib/c

                """)
        #expect(!FileManager.default.fileExists(atPath: scratch.path.appending("none").string))
    }

    @Test("A missing path exits with 66, and a path with too many symlinks with 65")
    func missing() throws {
        let result = try unpack("ls", image, "lib/none")
        #expect(result.status == 66 && result.text == "")
        #expect(result.errorText.hasPrefix("unpack: the image has no '/usr/lib/none'\nhint: "))
        let loop = try Self.write([[.symlink("l", to: "l")]], to: scratch.path.appending("loop"))
        #expect(try unpack("ls", loop, "l/x").status == 65)
        #expect(try unpack("ls", scratch.path.appending("no").string).status == 66)
    }

    @Test("The JSON has one line per path, with all metadata")
    func listJSON() throws {
        let lines = try objects("ls", image, "-R", "--json")
        let files = Dictionary(
            uniqueKeysWithValues: try lines.map { (try #require($0["path"] as? String), $0) })
        let a = try #require(files["/usr/lib/a"])
        #expect(a["type"] as? String == "file" && a["mode"] as? String == "0600" && a["size"] as? Int == 5)
        #expect(a["links"] as? Int == 2 && a["layer"] as? Int == 1 && a["entry"] as? Int == 1)
        #expect(a["xattrs"] as? [String: String] == ["user.a": "MQ=="])
        let lib = try #require(files["/usr/lib"])
        #expect(lib["mtime"] as? String == "2023-11-14T22:13:20.000000005Z" && lib["uid"] as? Int == 1)
        #expect(
            files["/lib"]?["target"] as? String == "usr/lib" && files["/null"]?["device"] as? String == "1:3")
        #expect(files["/\\xff"]?["pathBytes"] as? String == "L/8=" && files["/new\nline"] != nil)
        #expect(files["/"]?["layer"] == nil && files.count == 12)
    }

    @Test("A damaged layer is detected, although nothing is written")
    func damage() throws {
        let builder = try ImageBuilder(at: scratch.path.appending("damaged"))
        let layer = try builder.layer(LayerBuilder(.file("a", "1")))
        let config = try builder.config(.host, [LayerBuilder(.file("a", "1")).diffID])
        try builder.writeIndex([try builder.manifest(config, [layer])])
        try builder.damageBlob(layer) { $0[$0.count - 1] ^= 1 }
        for command in [["ls"], ["why"], ["diff"]] {
            let last = ["ls": [], "why": ["a"], "diff": [image]][command[0]] ?? []
            let result = try Command.run([Program.path.string] + command + [builder.path.string] + last)
            #expect(result.status == 65 && result.text == "" && result.errorText.contains("layer 1 of 1"))
        }
    }

    // MARK: why

    @Test(
        "why lists every layer that affects a path, and the result",
        arguments: [
            (
                "lib/a",
                [
                    "layer 1 *added", "*entry 1  file of 5 bytes", "layer 2 *changed",
                    "*entry 0  hard link '/usr/lib/c' to the same file,*",
                    "'/usr/lib/a' is a file of 5 bytes, mode 0600,*layer 1",
                ]
            ),
            (
                "lib/b",
                [
                    "layer 1 *added", "*entry 2  file of 1 bytes", "layer 3 *replaced",
                    "*entry 2  file of 1 bytes",
                    "'/usr/lib/b' is a file of 1 bytes, mode 0644, owner 0:0, from layer 3",
                ]
            ),
            (
                "etc/x",
                [
                    "layer 1 *added", "*entry 4  file of 1 bytes", "layer 2 *removed",
                    "*entry 1  whiteout of '/etc/x', hides what was below", "layer 3 *unchanged",
                    "*entry 0  opaque mark in '/etc', hides nothing", "'/etc/x' is not in the image",
                ]
            ),
            (
                "etc/y",
                [
                    "layer 1 *added", "*entry 5  file of 1 bytes", "layer 3 *removed",
                    "*entry 0  opaque mark in '/etc', hides what was below", "'/etc/y' is not in the image",
                ]
            ),
            (
                "etc",
                [
                    "layer 1 *added", "*created for the entries below it", "layer 3 *unchanged",
                    "*entry 0  opaque mark, hides everything of the layers below in it",
                    "'/etc' is a directory*",
                ]
            ),
            ("lib", ["layer 1 *added", "*entry 3  symlink to 'usr/lib'", "'/lib' is a symlink*"]),
            ("usr", ["layer 1 *added", "*created for the entries below it", "'/usr' is a directory*"]),
        ])
    func why(path: String, expected: [String]) throws {
        let lines = try unpack("why", image, path).succeed().text.split(separator: "\n").map(String.init)
        #expect(lines.count == expected.count, "\(lines)")
        for (line, pattern) in zip(lines, expected) { #expect(line.matches(pattern), "\(line)") }
    }

    @Test("A path that no layer has is not found; the JSON has digests and entries")
    func whyJSON() throws {
        #expect(try unpack("why", image, "never").status == 66)
        let document = try #require(try objects("why", image, "/etc/y", "--json").first)
        #expect(document["path"] as? String == "/etc/y" && document["file"] == nil)
        let layers = try #require(document["layers"] as? [[String: Any]])
        #expect(layers.map { $0["change"] as? String } == ["added", "removed"])
        #expect(layers.map { $0["layer"] as? Int } == [1, 3])
        let entries = try #require(layers[1]["entries"] as? [[String: Any]])
        #expect(
            entries.map { $0["what"] as? String } == ["opaque"] && entries[0]["path"] as? String == "/etc")
        let before = try #require(layers[1]["before"] as? [String: Any])
        #expect(before["type"] as? String == "file" && layers[1]["after"] == nil)
        #expect((layers[0]["digest"] as? String)?.hasPrefix("sha256:") == true)
    }

    // MARK: diff

    @Test("diff lists the differences of two images, independently of their layers")
    func diff() throws {
        let old = try Self.write(
            [
                [
                    .file("same", "1").at(5), .file("content", "1"), .file("mode"), .directory("d"),
                    .file("d/f"),
                    .file("one"), .hardLink("two", to: "one"), .symlink("l", to: "a"), .file("kind"),
                ]
            ],
            to: scratch.path.appending("old"))
        let new = try Self.write(
            [
                [.file("same", "0"), .file("d2/f")],
                [.file("same", "1").at(6), .file(".wh.d2"), .file("content", "2")],
                [
                    .file("mode").mode(0o600).owned(1, 1), .file("one"), .file("two"), .symlink("l", to: "b"),
                    .fifo("kind"),
                    .file("e/f").xattr("user.a", "1"),
                ],
            ],
            to: scratch.path.appending("new"))
        let expected = """
            M /content  (content)
            D /d
            D /d/f
            A /e
            A /e/f
            M /kind  (type)
            M /l  (target)
            M /mode  (mode, owner)
            M /one  (links)
            M /two  (links)

            """
        #expect(try unpack("diff", old, new).succeed().text == expected)
        #expect(try unpack("diff", old, new, "--times").succeed().text.contains("M /same  (time)\n"))
        #expect(try unpack("diff", old, new, "--exit-code").status == 1)
        #expect(try unpack("diff", old, old, "--exit-code", "--times").succeed().text == "")
        let changes = try objects("diff", old, new, "--json")
        #expect(changes.count == 10 && changes[0]["what"] as? [String] == ["content"])
        #expect(
            (changes[3]["new"] as? [String: Any])?["type"] as? String == "directory"
                && changes[3]["old"] == nil)
    }

    @Test(
        "An image and a snapshot on top of it differ in the written files",
        .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"),
        arguments: Snapshotter.possible)
    func snapshot(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let line = try program.line(image, "-q", "--rw", "job-1")
        #expect(try program.run("diff", image, "job-1", "--times").succeed().text == "")
        let text = "A /added\nD /null\nM /usr/lib/b  (mode)\n"
        let during = try program.mounted(line) { root in
            try root.removeFile(FileName(literal: "null"))
            _ = try root.createFile(FileName(literal: "added"), mode: 0o600)
            let lib = try root.open(FileName(literal: "usr")).open(FileName(literal: "lib"))
            try lib.setMode(of: FileName(literal: "b"), 0o755)
            return try program.run("diff", image, "job-1", "-q")
        }
        // The image file of a mounted writable snapshot is not read: it changes meanwhile.
        #expect(snapshotter == .loop ? during.status == 69 : during.text == text, "\(during.errorText)")
        #expect(try program.run("diff", image, "job-1", "-q").succeed().text == text)
        #expect(try program.run("diff", "job-1", image, "-q").succeed().text.hasPrefix("D /added\nA /null\n"))
        let neither = try program.run("diff", image, "nothing")
        #expect(neither.status == 66 && neither.errorText.contains("there is no image 'nothing' here"))
        #expect(
            try Command.run("sh", "-c", "grep -c $0 /proc/self/mountinfo", program.root.string).text == "0\n"
                || snapshotter == .btrfs)
    }
}
