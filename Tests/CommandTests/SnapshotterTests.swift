import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("Snapshotters", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct SnapshotterTests {
    /// Every operation on lower layers, and every type of file.
    private static let layers = [
        LayerBuilder(
            .directory(".", mode: 0o751).owned(3, 4).at(1_000_000_000, 7),
            .directory("usr", mode: 0o2755).owned(1, 2).at(5, 6), .file("usr/file", "lower").at(1, 2),
            .file("usr/linked", "shared").mode(0o600).owned(7, 8).xattr("user.of", "lower"),
            .hardLink("usr/also", to: "usr/linked"),
            .directory("opaque"), .file("opaque/below", "1"), .file("opaque/deep/below", "1"),
            .directory("gone"), .file("gone/file", "1"), .file("gone-file", "1"),
            .directory("becomes-file"), .file("becomes-file/f", "1"), .file("becomes-directory", "1"),
            .symlink("link", to: "usr/file"), .symlink("dangling", to: "../../nowhere"),
            .character("null", 1, 3).mode(0o666), .block("disk", 7, 99).mode(0o660).owned(0, 6),
            .fifo("pipe"),
            .file("su", "#!").mode(0o4755).xattr("security.capability", capability)),
        LayerBuilder(
            .file(".wh.gone"), .file(".wh.gone-file"), .file("opaque/.wh..wh..opq"), .file("opaque/new", "2"),
            .file("becomes-file", "2"), .directory("becomes-directory"), .file("becomes-directory/f", "2"),
            .hardLink("usr/third", to: "usr/linked"), .file("usr/.wh.file"),
            .directory("usr/empty", mode: 0o1777).xattr("user.on-directory", "x")),
        LayerBuilder(
            .file("sparse", "begin").pax("GNU.sparse.size", "8000000").pax("GNU.sparse.map", "0,5"),
            .file("zeros", Bytes([UInt8](repeating: 0, count: 3 << 20))),
            .file("new\nline \\ and \"quotes\""), .file("-rf"), .file(" "), .file(Bytes([0xFF, 0xFE, 0x80])),
            .file(Bytes(String(repeating: "n", count: 255))), .file("ünï/cødé", "ü"),
            .file("usr/also", "replaced"), .directory("gone", mode: 0o700), .file("gone/again", "3")),
    ]

    private static let capability: Bytes = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]

    /// The tree of an image with overlayfs.
    private func expected(_ image: String) throws -> TreeDump {
        let program = try Program()
        return try program.tree(try program.line(image, "-q"))
    }

    @Test(
        "The fixture is the same tree as with overlayfs, and its program runs",
        arguments: Snapshotter.possible)
    func fixture(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let image = "\(Program.fixtures)/busybox"
        let line = try program.line(image, "-q")
        let expected = try expected(image)
        try program.mounted(line) { directory in
            let tree = try TreeDump(of: directory)
            #expect(tree == expected, "\(tree.difference(from: expected))")
            let said = try Command.run("chroot", program.target.string, "/bin/busybox", "echo", "hello")
            #expect(said.text == "hello\n", "\(said.report)")
        }
    }

    @Test(
        "An image with all kinds of entries is the same tree as with overlayfs, with one job and with four",
        arguments: Snapshotter.possible, [1, 4])
    func everything(snapshotter: Snapshotter, jobs: Int) throws {
        let program = try Program(snapshotter)
        let image = try program.image(Self.layers).path.string
        let expected = try expected(image)
        #expect(
            expected["gone/file"] == nil && expected["opaque/below"] == nil && expected["usr/file"] == nil)
        #expect(expected["su"]?.contains("security.capability") == true)
        let line = try program.line(image, "-q", "--jobs", "\(jobs)")
        try program.mounted(line) { directory in
            let tree = try TreeDump(of: directory)
            #expect(tree == expected, "\(tree.difference(from: expected))")
            // Holes are kept, and hard links are one file.
            let sparse = try #require(try directory.status(of: FileName(literal: "sparse")))
            #expect(sparse.size == 8_000_000)
            // EROFS does not report how much of a file it has.
            #expect(snapshotter == .erofs || sparse.blocks * 512 < 100_000)
            let usr = try directory.open(FileName(literal: "usr"))
            let names = try ["linked", "third"].map { try usr.status(of: FileName(literal: $0))?.identity }
            #expect(names[0] == names[1] && names[0] != nil)
            let error = #expect(throws: SyscallFailure.self) {
                _ = try directory.createFile(FileName(literal: "no"), mode: 0o600)
            }
            #expect(error?.errno == .readOnlyFileSystem)
        }
        _ = try program.run("prune").succeed()
        try program.expectNothingLeftOver()
    }

    @Test(
        "Each format of the result mounts, and is the same the second time", arguments: Snapshotter.possible)
    func forms(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let image = try program.image(Self.layers).path.string
        let line = try program.line(image, "-q")
        let tree = try program.tree(line)

        let result = try #require(
            try JSONSerialization.jsonObject(
                with: Data(program.run(image, "-q", "--format", "json").succeed().output)) as? [String: Any])
        #expect(
            result["snapshotter"] as? String == snapshotter.rawValue && result["readonly"] as? Bool == true)
        let layers = try #require(result["layers"] as? [[String: Any]])
        #expect(layers.allSatisfy { $0["cached"] as? Bool == true } && layers.count == 3)
        #expect(try program.line(image, "-q") == line)
        #expect(try program.tree(try program.mountLine(of: result["mounts"])) == tree)

        let paths = try program.run(image, "-q", "--format", "path").succeed().text.split(separator: "\n")
        #expect(paths.map(String.init) == layers.reversed().compactMap { $0["path"] as? String })
        for path in paths { #expect(FileManager.default.fileExists(atPath: String(path)), "\(path)") }

        // unpack mount mounts the same tree.
        let chain = try #require(result["chainID"] as? String)
        #expect(
            try program.tree(
                "\(Program.path) mount --root \(program.root) --snapshotter \(snapshotter) \(chain)") == tree)
        let target = program.target.string
        _ = try program.run("mount", image, target, "-q").succeed()
        #expect(try TreeDump(of: try Directory(opening: program.target)) == tree)
        _ = try program.run("umount", target).succeed()
        #expect(try program.run("umount", target).status == 64)
    }

    @Test(
        "A writable snapshot keeps written files, and does not change the image",
        arguments: Snapshotter.possible)
    func writable(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let image = try program.image(Self.layers).path.string
        let expected = try program.tree(try program.line(image, "-q"))
        let line = try program.line(image, "-q", "--rw", "key")
        try program.mounted(line) { directory in
            let tree = try TreeDump(of: directory)
            #expect(tree == expected, "\(tree.difference(from: expected))")
            _ = try directory.createFile(FileName(literal: "new"), mode: 0o640)
            try directory.removeTree(FileName(literal: "usr"))
            try Data("longer than before".utf8).write(
                to: URL(fileURLWithPath: program.target.appending("su").string))
        }
        // Mounted again, with the same line and with unpack mount.
        #expect(try program.line(image, "-q", "--rw", "key") == line)
        for line in [line, "\(Program.path) mount --root \(program.root) --snapshotter \(snapshotter) key"] {
            let names = try program.mounted(line) { Set(try $0.names().map(\.description)) }
            #expect(names.contains("new") && !names.contains("usr"))
        }
        let json = try #require(
            try JSONSerialization.jsonObject(
                with: Data(program.run(image, "-q", "--rw", "key", "--format", "json").succeed().output))
                as? [String: Any])
        #expect(json["readonly"] as? Bool == false)
        let names = try program.mounted(try program.mountLine(of: json["mounts"])) {
            Set(try $0.names().map(\.description))
        }
        #expect(names.contains("new"))
        #expect(try program.tree(try program.line(image, "-q")) == expected)
        // Committed as a layer.
        _ = try program.run("snapshot", "commit", "mine", "key").succeed()
        let view = try program.run("snapshot", "view", "look", "mine").succeed().text
        try program.mounted(view.trimmingCharacters(in: .newlines)) { directory throws in
            #expect(try directory.status(of: FileName(literal: "usr")) == nil)
            #expect(throws: SyscallFailure.self) {
                _ = try directory.createFile(FileName(literal: "no"), mode: 0o600)
            }
        }
        for key in ["look", "mine"] { _ = try program.run("snapshot", "rm", key).succeed() }
        try program.expectNothingLeftOver()
    }

    // MARK: Refusals

    @Test("btrfs on another file system is refused with a hint, and leaves nothing")
    func notBtrfs() throws {
        let program = try Program()
        let image = try program.image(Self.layers).path.string
        for arguments in [[image, "-q"], ["snapshot", "prepare", "key"]] {
            let result = try program.run(arguments + ["--snapshotter", "btrfs"])
            #expect(result.status == 69 && result.text == "", "\(result.report)")
            #expect(
                result.errorText.matches(
                    """
                    unpack: btrfs cannot keep snapshots under *: it is another file system
                    hint: put the store on btrfs with --root DIR, or use another --snapshotter\n
                    """), "\(result.report)")
            #expect(try program.rows("SELECT count(*) FROM snapshot") == "0\n")
            #expect(try Directory(opening: program.root.appending("btrfs")).names().isEmpty)
            #expect(try Directory(opening: program.root.appending("runs")).names().isEmpty)
        }
        // Another snapshotter works in the same root.
        _ = try program.line(image, "-q")
    }

    @Test(
        "loop without mkfs.ext4 is refused with a hint, and leaves nothing",
        .enabled(if: TestEnvironment.canMakeLoopDevices, "needs loop devices"))
    func noMkfs() throws {
        let program = try Program(.loop)
        let image = try program.image(Self.layers).path.string
        let empty = try program.scratch.makeDirectory("empty")
        // The directories of system programs are searched whatever PATH is: they are hidden.
        let result = try Command.run(
            "unshare", "-m", "sh", "-ec",
            #"""
            for folder in /sbin /usr/sbin /usr/local/sbin; do mount --bind "$0" "$folder"; done
            PATH=$0 exec "$@"
            """#, empty.string, Program.path.string, image, "-q",
            environment: ["UNPACK_ROOT": program.root.string, "UNPACK_SNAPSHOTTER": "loop"])
        #expect(result.status == 69 && result.text == "", "\(result.report)")
        #expect(
            result.errorText
                == "unpack: loop cannot keep snapshots: mkfs.ext4 is not installed\n"
                + "hint: install e2fsprogs, or use another --snapshotter\n")
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "0\n")
        #expect(try Directory(opening: program.folder).names().isEmpty)
        #expect(try Directory(opening: program.root.appending("runs")).names().isEmpty)
    }

    @Test("An unknown snapshotter is refused with a list of the known ones, and no store is created")
    func unknown() throws {
        let program = try Program()
        let image = try program.image(Self.layers).path.string
        for arguments in [[image], ["snapshot", "prepare", "key"], ["mount", image, "/mnt"]] {
            let result = try program.run(arguments + ["--snapshotter", "aufs"])
            #expect(result.status == 64, "\(result.report)")
            #expect(
                result.errorText
                    == "unpack: there is no snapshotter 'aufs'\nhint: there is: overlayfs, native, btrfs, loop, erofs, devmapper, zfs\n"
            )
        }
        #expect(!FileManager.default.fileExists(atPath: program.root.string))
    }
}

extension Program {
    /// A command that performs mounts in JSON in order, the last one on its argument. It unmounts the others again,
    /// which an overlay keeps.
    fileprivate func mountLine(of mounts: Any?) throws -> String {
        let all = try #require(mounts as? [[String: Any]])
        var commands = [String]()
        var unmounts = [String]()
        for mount in all {
            let type = try #require(mount["type"] as? String)
            let source = try #require(mount["source"] as? String)
            let options = try #require(mount["options"] as? [String]).joined(separator: ",")
            let target = try #require(mount["target"] as? String)
            let words = type == "bind" ? "" : "-t \(type)"
            commands.append("mount \(words) -o \(options) \(source) \(target.isEmpty ? "$1" : target)")
            if !target.isEmpty { unmounts.append("umount \(target)") }
        }
        return "perform() { \((commands + unmounts).joined(separator: "; ")); }; perform"
    }
}
