import Kernel
package import SystemPackage

/// The file system for a store or an output: a loop file system, or one in memory.
package enum TestFileSystem: String, CaseIterable, Sendable {
    case tmpfs, ext4, btrfs, xfs
    /// Mounted so that every file gets the group of its directory (ext4(5), xfs(5): `grpid`, also called `bsdgroups`).
    case ext4WithGroups, xfsWithGroups

    package static let available = allCases.filter { system in
        switch system {
        case .tmpfs: TestEnvironment.scratch != nil
        case .ext4, .ext4WithGroups: TestEnvironment.canMountExt4
        case .btrfs: TestEnvironment.canMountBtrfs
        case .xfs, .xfsWithGroups: TestEnvironment.canMountXFS
        }
    }

    /// Calls `body` with a temporary directory on the file system.
    package func with<Result>(_ body: (FilePath) throws -> Result) throws -> Result {
        let system: LoopFileSystem? =
            switch self {
            case .tmpfs: nil
            case .ext4: try LoopFileSystem(type: "ext4", megabytes: 256)
            case .btrfs: try LoopFileSystem(type: "btrfs", megabytes: 300)
            case .xfs: try LoopFileSystem(type: "xfs", megabytes: 320)
            case .ext4WithGroups: try LoopFileSystem(type: "ext4", megabytes: 256, mountFlags: ["grpid"])
            case .xfsWithGroups: try LoopFileSystem(type: "xfs", megabytes: 320, mountFlags: ["bsdgroups"])
            }
        guard let place = system?.path ?? TestEnvironment.scratch else {
            throw Command.Failure(description: "no directory that supports all metadata")
        }
        let temporary = try TemporaryDirectory(in: place)
        defer { withExtendedLifetime(system) {} }
        return try body(temporary.path)
    }
}

/// Directories whose entries inherit what no layer specifies.
package enum InheritingDirectory {
    /// Makes the entries of a directory inherit all that the file system supports: a group, a default ACL, flags, a
    /// project.
    ///
    /// - Parameter mode: includes the set-group-ID bit.
    package static func make(_ path: FilePath, mode: String = "2755") throws {
        try Command.run(
            "sh", "-ec",
            #"[ -d "$0" ] || mkdir "$0"; chgrp 50 "$0"; chmod "$1" "$0"; setfacl -m d:u:1234:rwx,d:g:1234:rwx "$0""#,
            path.string, mode
        ).succeed()
        let file = try File.open(path, .directory)
        // NOATIME, NODUMP, DIRSYNC, COMPR, PROJINHERIT; NODEFRAG, NOSYMLINKS.
        for flag: UInt32 in [0x80, 0x40, 0x1_0000, 0x4, 0x2000_0000] {
            try change(file) { $0.flags |= flag }
        }
        for flag: UInt32 in [0x2000, 0x400] { try change(file) { $0.extendedFlags |= flag } }
        try change(file) { $0.project = 42 }
    }

    /// Changes settings; a file system that does not support them is ignored.
    private static func change(_ file: borrowing File, _ body: (inout InodeSettings) -> Void) throws {
        var settings = try file.settings()
        body(&settings)
        try? file.set(settings)
    }

    /// Whether entries of a directory inherit any of these.
    package static func isInheriting(_ path: FilePath) throws -> Bool {
        try Directory(opening: path).hasInheritedSettings()
    }
}
