import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// A tree depends on its layers only: it inherits nothing from the directory of the store or the output, from the umask
/// or from the group of the process.
@Suite(
    "Surroundings", .serialized,
    .enabled(
        if: TestEnvironment.canMountOverlay && TestEnvironment.has("setfacl")
            && TestEnvironment.has("setpriv"),
        "it needs to mount an overlay, setfacl and setpriv"))
struct SurroundingsTests {
    /// Every type of file, with group 0 and with other groups.
    static let layers = [
        LayerBuilder(
            .directory("d", mode: 0o2775).owned(0, 7).at(5, 6), .file("d/f", "1"),
            .file("su", "#!").mode(0o6755),
            .file("g", "2").owned(1, 100), .symlink("l", to: "d"), .hardLink("d/h", to: "su").mode(0o6755),
            .fifo("p"),
            .character("null", 1, 3).mode(0o666), .block("disk", 7, 99),
            .file("etc/shadow", "secret").mode(0),
            .directory("acl", mode: 0o750).pax(
                "SCHILY.acl.default", "user::rwx,user:9:rwx,group::r-x,mask::rwx,other::---"),
            .file("acl/f", "3").pax(
                "SCHILY.acl.access", "user::rw-,user:9:r--,group::r--,mask::r--,other::---"),
            .file("gone/f", "4"), .file("opaque/below", "5")),
        LayerBuilder(
            .file("implicit/deep/f", "6"), .directory("implicit/deep/d"), .file("acl/new", "7"),
            .file("etc/more"),
            .hardLink("up", to: "g"), .whiteout("gone"), .opaque("opaque"), .file("opaque/new", "8"),
            .symlink("d/s", to: "f"), .fifo("d/p")),
    ]

    /// Runs the program as root with a umask and a group.
    private struct Caller: CustomTestStringConvertible {
        let umask: String
        let group: String
        var testDescription: String { "umask \(umask), group \(group)" }

        static let plain = Caller(umask: "022", group: "0")
        static let odd = Caller(umask: "077", group: "50")

        func run(_ arguments: [String]) throws -> Command {
            try Command.run(
                [
                    "setpriv", "--regid=\(group)", "--clear-groups", "sh", "-ec",
                    "umask \(umask); exec \"$@\"", "sh",
                    Program.path.string,
                ] + arguments, environment: ["UNPACK_CONFIG": ""], timeout: 120)
        }
    }

    /// Pairs of a file system and a snapshotter on it. Snapshots of loop have a file system of their own.
    private static let stores = TestFileSystem.available.flatMap { system in
        Snapshotter.possible.filter { $0 != .btrfs || system == .btrfs }
            .filter { $0 != .loop || system == .ext4WithGroups }.map { (system, $0) }
    }

    /// The mounted trees of the image, of a writable snapshot on it, of an empty snapshot and of a view, and the
    /// directories of the store without times.
    private func dumps(
        _ image: String, in store: FilePath, _ snapshotter: Snapshotter, at target: FilePath,
        by caller: Caller
    ) throws -> [[String]] {
        let place = ["--root", store.string, "--snapshotter", snapshotter.rawValue]
        func tree(_ arguments: [String], keepsTime: Bool = true) throws -> [String] {
            let line = try caller.run(arguments + place).succeed().text.dropLast()
            try Command.run("sh", "-ec", "\(line) \(target)").succeed()
            defer { try? unmountWhenFree(target) }
            return try Self.lines(target, keepsTimes: keepsTime)
        }
        var dumps = [try tree([image, "-q"]), try tree([image, "-q", "--rw", "key"])]
        let chain = try Command.run(
            "sqlite3", "\(store)/metadata.db",
            "SELECT verified_chain FROM snapshot WHERE verified_chain NOT NULL ORDER BY id DESC"
        ).succeed().text.split(separator: "\n")[0]
        dumps.append(try tree(["snapshot", "prepare", "empty"], keepsTime: false))
        dumps.append(try tree(["snapshot", "view", "seen", String(chain)]))
        if snapshotter != .loop {
            let all = try Self.lines(store.appending(snapshotter.rawValue), keepsTimes: false)
            dumps.append(all.filter { $0.contains("/fs/") || $0.contains("/fs ") })
        }
        #expect(try caller.run(["verify"] + place).status == 0)
        return dumps
    }

    private static func lines(_ path: FilePath, keepsTimes: Bool) throws -> [String] {
        let lines = try TreeDump(of: try Directory(opening: path), showsMarks: true).lines
        return lines.map { line in
            var fields = line.split(separator: " ")
            // Fields: path, type, mode, owner, time. The kernel sets a random UUID on an upper directory.
            if !keepsTimes { fields.remove(at: 4) }
            return fields.filter { !$0.hasPrefix("trusted.overlay.uuid=") }.joined(separator: " ")
        }
    }

    @Test("A snapshot inherits nothing from the store's directory", arguments: stores)
    private func snapshots(system: TestFileSystem, snapshotter: Snapshotter) throws {
        try system.with { place in
            let program = try Program(snapshotter, in: try #require(TestEnvironment.scratch))
            let image = try program.image(Self.layers).path.string
            let hostile = place.appending("hostile")
            try InheritingDirectory.make(hostile, mode: "2775")
            try Command.run("mkdir", "-m", "0755", "\(place)/plain").succeed()
            let made = hostile.appending("made")
            try InheritingDirectory.make(made)
            #expect(try InheritingDirectory.isInheriting(made))
            let expected = try dumps(
                image, in: place.appending("plain/s"), snapshotter, at: program.target, by: .plain)
            for (store, caller) in [(hostile.appending("s"), Caller.odd), (made, .plain)] {
                let found = try dumps(image, in: store, snapshotter, at: program.target, by: caller)
                for (found, expected) in zip(found, expected) { expectSame(found, expected) }
            }
        }
    }

    private func expectSame(_ found: [String], _ expected: [String]) {
        let difference =
            (found.filter { !expected.contains($0) }.map { "+ " + $0 }
            + expected.filter { !found.contains($0) }.map { "- " + $0 }).joined(separator: "\n")
        #expect(difference == "")
    }

    @Test(
        "An output inherits nothing from its directory or from the directories above it",
        arguments: TestFileSystem.available)
    private func outputs(system: TestFileSystem) throws {
        try system.with { place in
            let program = try Program(.overlayfs, in: try #require(TestEnvironment.scratch))
            let image = try program.image(Self.layers).path.string
            let hostile = place.appending("hostile")
            try InheritingDirectory.make(hostile, mode: "2775")
            try InheritingDirectory.make(hostile.appending("there"), mode: "2775")
            try Command.run("mkdir", "-m", "0755", "\(place)/plain").succeed()
            func dump(_ path: FilePath, by caller: Caller = .plain) throws -> [String] {
                try caller.run([image, "--output", path.string]).succeed()
                return try Self.lines(path, keepsTimes: true)
            }
            let expected = try dump(place.appending("plain/o"))
            for (name, caller) in [("there", Caller.plain), ("new", .plain), ("odd", .odd), ("a/b", .odd)] {
                expectSame(try dump(hostile.appending(name), by: caller), expected)
            }
        }
    }

    @Test("A failed output leaves the directory unchanged", arguments: TestFileSystem.available)
    private func failedOutput(system: TestFileSystem) throws {
        try system.with { place in
            let program = try Program(.overlayfs, in: try #require(TestEnvironment.scratch))
            let image = try program.image([LayerBuilder(.file("a"), .hardLink("b", to: "nothing"))]).path
                .string
            let output = place.appending("o")
            try InheritingDirectory.make(output, mode: "2775")
            let before = try Self.lines(output, keepsTimes: false)
            #expect(try program.run(image, "--output", output.string).status == 65)
            #expect(try Self.lines(output, keepsTimes: false) == before)
            #expect(try InheritingDirectory.isInheriting(output))
        }
    }

    @Test("The root file system of a bundle inherits nothing from the bundle's directory")
    func bundle() throws {
        let program = try Program()
        let image = try program.image(Self.layers).path.string
        let hostile = program.scratch.path.appending("hostile")
        try InheritingDirectory.make(hostile, mode: "2775")
        var trees = [[String]]()
        for (bundle, root) in [
            ("\(program.scratch.path)/b", program.root), ("\(hostile)/b", hostile.appending("s")),
        ] {
            let line = try program.line(image, "--bundle", bundle, "--root", root.string)
            try Command.run("sh", "-ec", String(line)).succeed()
            let rootfs = FilePath(bundle).appending("rootfs")
            defer { try? unmountWhenFree(rootfs) }
            trees.append(try Self.lines(rootfs, keepsTimes: true))
        }
        expectSame(trees[1], trees[0])
    }

    @Test(
        "A snapshot of an ordinary user inherits nothing from the store's directory",
        .enabled(if: TestEnvironment.canBeOrdinary),
        arguments: OrdinaryUser.IDs.allCases)
    func rootless(ids: OrdinaryUser.IDs) throws {
        let user = try OrdinaryUser(ids)
        // The directory has a group that the user's namespace does not map.
        let hostile = try user.makeDirectory("hostile")
        try InheritingDirectory.make(hostile, mode: "2777")
        let plain = try user.makeDirectory("plain")
        func dump(_ place: FilePath) throws -> String {
            try user.inNamespace(
                """
                for s in overlayfs native; do
                    line=$(unpack -q --snapshotter $s --root \(place)/s busybox); mkdir -p \(place)/m; $line \(place)/m
                    (cd \(place)/m; find . -printf '%p %y %m %U:%G %T@ %l\\n' | sort; getfacl -Rsp .); umount \(place)/m
                done
                unpack -q busybox --output \(place)/o
                (cd \(place)/o; find . -printf '%p %y %m %U:%G %T@ %l\\n' | sort; getfacl -Rsp .)
                """
            ).succeed().text
        }
        let (found, expected) = (try dump(hostile), try dump(plain))
        #expect(found == expected)
        #expect(found.contains("./bin/busybox f"))
    }

    @Test(
        "A layer that inherited attributes in an earlier version is unpacked again",
        arguments: [Snapshotter.overlayfs, .native])
    func olderStore(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let image = try program.image(Self.layers).path.string
        let tree = try program.tree(try program.line(image, "-q"))
        // Like a store that was created in a setgid directory.
        try Command.run("sh", "-c", "cd \(program.folder); chgrp 50 1 2 */fs/g").succeed()
        #expect(try program.tree(try program.line(image, "-q")) != tree)
        _ = try program.rows("DELETE FROM grdb_migrations WHERE identifier = '5'")
        #expect(try program.tree(try program.line(image, "-q")) == tree)
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "2\n")
        try program.expectNothingLeftOver()
        // Layers that inherited nothing stay.
        let before = try program.rows("SELECT id FROM snapshot")
        _ = try program.rows("DELETE FROM grdb_migrations WHERE identifier = '5'")
        _ = try program.line(image, "-q")
        #expect(try program.rows("SELECT id FROM snapshot") == before)
    }
}
