import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// Root without one capability: the kernel refuses some operations, and ignores others without an error. A run creates
/// the exact tree, or fails with the name of the capability.
@Suite(
    "Capabilities", .serialized,
    .enabled(
        if: TestEnvironment.canMountOverlay && TestEnvironment.has("capsh"),
        "it needs to mount an overlay, and capsh"))
struct CapabilityTests {
    private static let capability: Bytes = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]

    /// Entries that need one capability each.
    private static let entries: [(name: String, entry: TarEntry, capability: Capability)] = [
        ("owner", .file("x", "1").owned(1, 2), .chown),
        ("link", .symlink("x", to: "y").owned(1, 2), .chown),
        ("device", .character("x", 1, 3), .mknod),
        ("capability", .file("x", "1").xattr("security.capability", capability), .setfcap),
        ("setgid", .file("x", "1").mode(0o2755).owned(0, 8), .fsetid),
        ("setgid directory", .directory("x", mode: 0o2775).owned(0, 8), .fsetid),
        ("setgid fifo", .fifo("x").mode(0o2666).owned(0, 8), .fsetid),
        ("mode", .file("x", "1").mode(0o4755).owned(1, 2), .fowner),
        ("time", .fifo("x").owned(1, 2).at(7, 8), .fowner),
        ("security", .file("x", "1").xattr("security.other", "1"), .sysAdmin),
    ]

    private static let dropped = Capability.allCases.filter { $0 != .sysAdmin }

    private func run(without capability: Capability, _ arguments: [String]) throws -> Command {
        let name = capability.description.lowercased()
        let words = ([Program.path.string] + arguments).map { "'\($0)'" }.joined(separator: " ")
        return try Command.run(
            "capsh", "--drop=\(name)", "--", "-c", "umask 022; \(words)", environment: ["UNPACK_CONFIG": ""])
    }

    private func expectRefusal(_ run: Command, _ capability: Capability) {
        #expect(run.status == 77 && run.text.isEmpty, "\(run.report)")
        #expect(run.errorText.contains("needs \(capability)"), "\(run.report)")
    }

    @Test(
        "An entry that needs a missing capability is refused, and the error names the capability",
        arguments: 0..<entries.count)
    private func entry(number: Int) throws {
        let (name, entry, capability) = Self.entries[number]
        let program = try Program()
        let image = try program.image([LayerBuilder(.file("a"), entry)]).path.string
        let output = program.scratch.path.appending("o")
        let plain = try run(without: capability, [image, "--output", output.string])
        expectRefusal(plain, capability)
        #expect(plain.errorText.contains("entry 'x'") || name.hasSuffix("directory"), "\(plain.report)")
        #expect(try !output.exists())
        if capability != .sysAdmin {
            expectRefusal(try run(without: capability, [image, "--root", program.root.string]), capability)
            try program.expectClean()
        }
        // The same store works later, with all capabilities.
        let later = try program.tree(try program.line(image, "-q"))
        try program.run(image, "--output", output.string).succeed()
        #expect(try TreeDump(of: try Directory(opening: output)) == later)
        #expect(try program.run("verify").status == 0)
    }

    @Test(
        "Without one capability an image unpacks to the exact tree, or is refused with the capability's name",
        arguments: dropped,
        [Snapshotter.overlayfs, .native])
    private func everything(capability: Capability, snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let image = try program.image(SurroundingsTests.layers).path.string
        let found = try run(
            without: capability,
            [image, "-q", "--root", program.root.string, "--snapshotter", snapshotter.rawValue])
        if found.status != 0 {
            expectRefusal(found, capability)
            try program.expectClean()
        }
        let tree = try program.tree(try program.line(image, "-q"))
        let expected = try Program()
        #expect(try tree == expected.tree(try expected.line(image, "-q")))
        #expect(try program.run("verify").status == 0)
    }

    @Test("An image that needs no capability unpacks without any one of them", arguments: Capability.allCases)
    private func nothing(capability: Capability) throws {
        let program = try Program()
        let layers = [
            LayerBuilder(
                .directory("d"), .file("d/f", "1").mode(0o4755), .symlink("l", to: "d"), .fifo("p"),
                .file("w")),
            LayerBuilder(.whiteout("w"), .file("l/g", "2"), .hardLink("h", to: "d/f")),
        ]
        let image = try program.image(layers).path.string
        let output = program.scratch.path.appending("o")
        try run(without: capability, [image, "--output", output.string]).succeed()
        let expected = try program.tree(try program.line(image, "-q"))
        #expect(try TreeDump(of: try Directory(opening: output)) == expected)
        if capability != .sysAdmin {
            let other = program.scratch.path.appending("t")
            let line = try run(without: capability, [image, "-q", "--root", other.string]).succeed().text
                .dropLast()
            #expect(try program.tree(String(line)) == expected)
        }
    }
}

@Suite(
    "File systems that store less metadata", .serialized,
    .enabled(if: TestEnvironment.canMountOverlay && TestEnvironment.canMountExt4))
struct LesserFileSystemTests {
    private static let image: [LayerBuilder] = [
        LayerBuilder(.file("fine", "1").at(1_700_000_000, 123_456_789), .file("late", "2").at(4_102_444_800)),
        LayerBuilder(.directory("d").at(-3_000_000_000), .whiteout("late"), .file("d/f").at(1)),
    ]

    @Test("A time that the file system cannot store gives a warning, and the stored time is recorded")
    func times() throws {
        let system = try LoopFileSystem(type: "ext4", megabytes: 64, options: ["-I", "128"])
        defer { withExtendedLifetime(system) {} }
        let program = try Program(.native, in: system.path)
        let image = try program.image(Self.image).path.string
        let run = try program.run(image).succeed()
        #expect(
            run.errorText.contains(
                "entry 'fine': the file system does not keep its modification time 1700000000.123456789, which became 1700000000 (and 1 more)"
            ), "\(run.report)")
        #expect(run.errorText.contains("-3000000000, which became -2147483648"), "\(run.report)")
        #expect(try program.run("verify").status == 0)
        let output = try program.run(image, "--output", "\(system.path)/o").succeed()
        #expect(output.errorText.contains("entry 'fine': the file system does not keep"), "\(output.report)")
        // The loop snapshotter has a file system of its own.
        let loop = try program.run(image, "--snapshotter", "loop").succeed()
        #expect(
            !loop.errorText.contains("entry 'fine'") && loop.errorText.contains("entry 'd'"), "\(loop.report)"
        )
    }

    @Test(
        "overlayfs is refused on a file system without d_type, and the hint names snapshotters that work",
        arguments: [Snapshotter.native, .loop])
    func types(other: Snapshotter) throws {
        let system = try LoopFileSystem(type: "ext4", megabytes: 128, options: ["-O", "^filetype"])
        defer { withExtendedLifetime(system) {} }
        let program = try Program(.overlayfs, in: system.path)
        let image = try program.image(SurroundingsTests.layers).path.string
        for arguments in [[image], ["snapshot", "prepare", "key"]] {
            let run = try program.run(arguments)
            #expect(run.status == 69 && run.text.isEmpty, "\(run.report)")
            #expect(
                run.errorText.contains("does not record the types of directory entries (d_type)")
                    && run.errorText.contains("hint: use --snapshotter native or loop, or put the store"),
                "\(run.report)")
        }
        let doctor = try program.run("doctor")
        #expect(doctor.text.contains("(d_type): no overlayfs"), "\(doctor.report)")
        #expect(doctor.text.contains("use --snapshotter native or loop"), "\(doctor.report)")
        let server = try Command.run(
            Built.program("unpack-snapshotter").string, "--root", program.root.string, "--address",
            "\(system.path)/socket", environment: ["UNPACK_CONFIG": ""], timeout: 20)
        #expect(server.status == 69 && server.errorText.contains("(d_type)"), "\(server.report)")

        let works = try Program(other, in: system.path)
        let tree = try works.tree(try works.line(image, "-q"))
        let expected = try Program()
        #expect(try tree == expected.tree(try expected.line(image, "-q")))
    }

    @Test(
        "A file system that reports success but stores another owner or mode is refused",
        .enabled(if: TestEnvironment.has("bindfs")),
        arguments: ["--chown-ignore", "--chgrp-ignore", "--chmod-ignore"])
    func ignored(option: String) throws {
        let program = try Program()
        let image = try program.image([LayerBuilder(.file("a"))]).path.string
        let (real, seen) = (
            try program.scratch.makeDirectory("real"), try program.scratch.makeDirectory("seen")
        )
        try Command.run("bindfs", option, "--xattr-rw", real.string, seen.string).succeed()
        defer { _ = try? Command.run("umount", "-l", seen.string) }
        for arguments in [["--output", "\(seen)/o"], ["--root", "\(seen)/s", "--snapshotter", "native"]] {
            let run = try program.run([image] + arguments)
            #expect(run.status == 69 || run.status == 74, "\(run.report)")
            #expect(run.errorText.contains(" became "), "\(run.report)")
        }
    }
}

@Suite(
    "Attributes of the kernel", .serialized,
    .enabled(
        if: TestEnvironment.canMountOverlay && TestEnvironment.has("setfacl"),
        "it needs to mount an overlay, and setfacl"))
struct KernelAttributeTests {
    /// ACLs and attributes in the lowest layer. The layers above add files to its directories, and list one again.
    private static let layers = [
        LayerBuilder(
            .directory("acl", mode: 0o750)
                .pax("SCHILY.acl.access", "user::rwx,user:9:r-x,group::r-x,mask::r-x,other::---")
                .pax("SCHILY.acl.default", "user::rwx,user:9:rwx,group::r-x,mask::rwx,other::---"),
            .file("acl/f", "1").mode(0o640)
                .pax("SCHILY.acl.access", "user::rw-,user:9:r--,group::r--,mask::r--,other::---"),
            .file("f").xattr("btrfs.compression", "zstd").xattr("user.k", "v"),
            .directory("d").xattr("btrfs.compression", "zstd")),
        LayerBuilder(
            .file("acl/new", "2"), .hardLink("up", to: "acl/f"), .directory("acl/d/e"), .file("d/new", "3")),
        LayerBuilder(.directory("acl", mode: 0o755), .file("d/newer", "4")),
    ]

    private static let stores = [TestFileSystem.xfs, .btrfs, .ext4, .tmpfs].filter {
        TestFileSystem.available.contains($0)
    }.flatMap { system in
        Snapshotter.possible.filter { $0 != .btrfs || system == .btrfs }.map { (system, $0) }
    }

    @Test("Layers on a directory with an ACL are the same tree on every file system", arguments: stores)
    func layers(system: TestFileSystem, snapshotter: Snapshotter) throws {
        let reference = try Program()
        let image = try reference.image(Self.layers).path.string
        let expected = try reference.tree(try reference.line(image, "-q"))
        try system.with { place in
            if system == .btrfs {
                // A directory inherits the property from its parent, a subvolume from the root of the enclosing one.
                for path in [place, place.removingLastComponent()] {
                    try Command.run("btrfs", "property", "set", path.string, "compression", "zstd").succeed()
                }
            }
            let program = try Program(snapshotter, in: place)
            let tree = try program.tree(try program.line(image, "-q", "--rw", "key"))
            #expect(tree == expected, "\(tree.difference(from: expected))")
            #expect(try program.run("diff", image, "key", "--times").succeed().text == "")
            #expect(try program.run("verify").status == 0)
            let output = place.appending("o")
            try program.run(image, "--output", output.string).succeed()
            let plain = try TreeDump(of: try Directory(opening: output))
            #expect(plain == expected, "\(plain.difference(from: expected))")
        }
    }
}
