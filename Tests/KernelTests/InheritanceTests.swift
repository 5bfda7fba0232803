import Kernel
import SystemPackage
import TestSupport
import Testing

private let name = FileName(literal: "d")

@Suite(
    "Inheritance from directories",
    .enabled(if: TestEnvironment.canApplyLayers && TestEnvironment.has("setfacl"), "needs root and setfacl"))
struct InheritanceTests {
    @Test(
        "With exclusive access new entries inherit nothing, and it can be reverted",
        arguments: TestFileSystem.available)
    func takenOver(system: TestFileSystem) throws {
        try system.with { place in
            let path = place.appending("d")
            try InheritingDirectory.make(path, mode: "2775")
            let directory = try Directory(opening: path)
            let before = (try directory.file.status(), try directory.file.settings())
            #expect(before.1.inherited != nil || system == .tmpfs)
            func inherits() throws -> Bool {
                try directory.removeTree(name)
                try directory.makeDirectory(name, mode: 0o755)
                let made = try directory.open(name)
                return try made.hasInheritedSettings() || made.file.status().mode != 0o755
            }
            #expect(try inherits())
            let access = try directory.takeExclusiveAccess()
            #expect(try !directory.hasInheritedSettings() && directory.file.settings().inherited == nil)
            #expect(try !inherits())
            try directory.restore(access)
            let after = try directory.file.status()
            #expect(after.mode == before.0.mode && after.gid == 50)
            #expect(try directory.file.settings() == before.1)
            #expect(try inherits())
        }
    }

    @Test("Settings that are not inherited are kept", .enabled(if: TestEnvironment.canMountExt4))
    func kept() throws {
        try TestFileSystem.ext4.with { place in
            let directory = try Directory(opening: place)
            var settings = try directory.file.settings()
            // TOPDIR and NOATIME.
            settings.flags |= 0x2_0000 | 0x80
            try directory.file.set(settings)
            try directory.file.clearInheritedSettings()
            #expect(try directory.file.settings().flags & 0x2_0080 == 0x2_0000)
        }
    }

    @Test(
        "A new subvolume inherits no property of the surrounding one",
        .enabled(if: TestEnvironment.canMountBtrfs))
    func subvolume() throws {
        let system = try LoopFileSystem(type: "btrfs", megabytes: 128)
        try Command.run("btrfs", "property", "set", system.path.string, "compression", "zstd").succeed()
        let top = try Directory(opening: system.path)
        try top.makeSubvolume(name)
        let subvolume = try top.open(name)
        #expect(try subvolume.file.extendedAttributeNames().isEmpty)
        #expect(try subvolume.file.settings().inherited == nil)
        #expect(try subvolume.file.status().mode == 0o755)
    }

    @Test(
        "The probe detects whether a file system records the types of entries",
        .enabled(if: TestEnvironment.canMountExt4))
    func types() throws {
        for (options, expected) in [([], true), (["-O", "^filetype"], false)] {
            let system = try LoopFileSystem(type: "ext4", megabytes: 16, options: options)
            let found = try KernelProbes.layers(in: system.path)
            #expect(found.form == .device && found.recordsTypes == expected)
        }
    }
}

@Suite("Attributes that belong to a file") struct FileAttributeTests {
    @Test(
        "Attributes belong to the file or to the kernel",
        arguments: [
            ("user.x", "", true), ("user.overlay.opaque", "y", true), ("trusted.x", "", true),
            ("trusted.overlay.opaque", "y", true), ("security.capability", "", true),
            ("system.posix_acl_access", "", true), ("system.posix_acl_default", "", true),
            ("security.selinux", "x", false), ("security.SMACK64", "_", false),
            ("security.SMACK64EXEC", "x", false),
            ("trusted.SGI_ACL_FILE", "x", false), ("trusted.SGI_ACL_DEFAULT", "x", false),
            ("btrfs.compression", "zstd", false), ("bcachefs_effective.compression", "", false),
            ("system.nfs4_acl", "", false), ("com.apple.quarantine", "", false), ("user", "", false),
            // Signatures, and hashes that the kernel computes.
            ("security.ima", "\u{3}\u{2}", true), ("security.ima", "\u{6}", true),
            ("security.ima", "\u{1}x", false),
            ("security.ima", "\u{4}\u{4}", false), ("security.ima", "", false),
            ("security.evm", "\u{5}", true),
            ("security.evm", "\u{2}", false), ("security.evm", "\u{3}", false),
        ])
    func owners(attribute: String, value: String, belongsToFile: Bool) {
        #expect(AttributeName(literal: attribute).belongsToFile(value.utf8) == belongsToFile)
    }

    @Test(
        "Attributes that XFS and btrfs add are neither read nor removed",
        .enabled(
            if: TestEnvironment.canMountXFS && TestEnvironment.canMountBtrfs && TestEnvironment.has("setfacl")
        ),
        arguments: [TestFileSystem.xfs, .btrfs])
    func listed(system: TestFileSystem) throws {
        try system.with { place in
            let setting =
                system == .xfs
                ? "setfacl -m u:1:rwx,d:u:1:rwx \(place)" : "btrfs property set \(place) compression zstd"
            try Command.run("sh", "-ec", "\(setting); setfattr -n user.x -v 1 \(place)").succeed()
            let directory = try Directory(opening: place)
            let all = try directory.file.extendedAttributeNames()
            #expect(all.contains { !$0.belongsToFile([]) })
            let own = try directory.file.fileAttributes().map(\.name)
            #expect(own.contains(AttributeName(literal: "user.x")) && own.count < all.count)
            try directory.file.removeFileAttributes()
            #expect(try directory.file.fileAttributes().isEmpty)
            let left = try directory.file.extendedAttributeNames()
            #expect(left == (system == .btrfs ? [AttributeName(literal: "btrfs.compression")] : []))
        }
    }
}

@Suite("Times as text") struct TimestampTests {
    @Test(
        "A time is printed as date(1) accepts it",
        arguments: [
            (0, 0, "0"), (1, 500_000_000, "1.5"), (-2, 500_000_000, "-1.5"), (-1, 1, "-0.999999999"),
            (-7, 0, "-7"),
            (4_102_444_800, 100, "4102444800.0000001"),
        ] as [(Int64, UInt32, String)])
    func text(seconds: Int64, nanoseconds: UInt32, expected: String) {
        #expect(Timestamp(seconds: seconds, nanoseconds: nanoseconds).description == expected)
    }
}
