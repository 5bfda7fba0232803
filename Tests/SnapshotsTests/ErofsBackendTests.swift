import ErofsFiles
import Kernel
import Mounts
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// What only the snapshotter erofs has: images in files, and the images of changed snapshots.
@Suite(
    "Snapshots as EROFS images",
    .enabled(if: Site.all.contains { $0.snapshotter == "erofs" }, "needs root and EROFS"))
struct ErofsBackendTests {
    private static let site = Site.all.first { $0.snapshotter == "erofs" }

    private func ground() throws -> Ground { try Ground(#require(Self.site)) }

    private func path(of name: String, in store: SnapshotStore) throws -> FilePath {
        store.path(of: try store.stat(name))
    }

    /// Makes a snapshot with every type of file, directories that are opaque and whiteouts included, on a base.
    private func change(_ root: Directory) throws {
        try root.put("changed", "new content")
        try root.removeTree("removed")
        try root.removeTree("replaced")
        try root.makeDirectory("replaced", mode: 0o1777)
        try root.open("replaced").put("inside", "1")
        try root.makeDirectory("empty", mode: 0o2750)
        try root.put("file", "content", mode: 0o4711)
        try root.setOwner(of: "file", uid: 70_000, gid: 80_000)
        try root.link("file", of: root, as: "hard")
        try root.makeSymlink("symlink", target: Array("/some/where".utf8))
        try root.makeNode("fifo", .fifo, mode: 0o600)
        try root.makeNode("socket", .socket, mode: 0o600)
        try root.makeNode("null", .character(DeviceNumber(major: 1, minor: 3)), mode: 0o666)
        try root.makeNode("disk", .block(DeviceNumber(major: 7, minor: 99)), mode: 0o660)
        let sparse = try root.openOrCreateFile("sparse", mode: 0o600)
        try sparse.truncate(to: 20 << 20)
        try Array("end".utf8).withRawSpan { try sparse.write($0, at: 9 << 20) }
        let attributes = try root.openOrCreateFile("attributes", mode: 0o600)
        try attributes.setExtendedAttribute(AttributeName(literal: "user.text"), Array("value".utf8))
        try attributes.setExtendedAttribute(
            AttributeName(literal: "security.capability"),
            [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        try root.setTimes(
            of: "fifo", access: .epoch, modification: Timestamp(seconds: -1_000_000, nanoseconds: 999_999_999)
        )
        try root.setMode(of: "kept", 0o700)
        try root.file.setOwner(uid: 3, gid: 4)
        try root.file.setMode(0o751)
    }

    private func makeBase(_ ground: Ground) throws {
        try ground.make("base") { root throws in
            try root.put("changed", "old")
            for name: FileName in ["removed", "replaced", "kept"] {
                try root.makeDirectory(name, mode: 0o755)
                try root.open(name).put("below", "0")
            }
        }
    }

    @Test(
        "The image of a changed snapshot shows the tree that its mounts have shown", arguments: [true, false])
    func changes(hasParent: Bool) throws {
        let ground = try ground()
        defer { ground.end() }
        try makeBase(ground)
        let mounts = try ground.store.prepare("active", parent: hasParent ? "base" : nil, in: ground.run)
        let expected = try ground.mounted(mounts) { root throws in
            if !hasParent {
                for name: FileName in ["removed", "replaced", "kept"] {
                    try root.makeDirectory(name, mode: 0o755)
                }
            }
            try change(root)
            return try TreeDump(of: root)
        }
        #expect(expected["sparse"] != nil && expected["removed/below"] == nil)
        try ground.store.commit("active", as: "committed", isSynced: true)
        let found = try ground.shows("committed") { root throws in
            let names: [FileName] = ["file", "hard"]
            let identities = try names.map { try root.status(of: $0)?.identity }
            #expect(identities[0] == identities[1])
            return try TreeDump(of: root)
        }
        #expect(found.lines == expected.lines)
        // Holes take no space in the image.
        #expect(try ground.store.usage(of: "committed").size < 1 << 20)
        // The upper directory is empty, and the image as it was recorded.
        let folder = try path(of: "committed", in: ground.store).removingLastComponent()
        #expect(Set(try Directory(opening: folder).names()) == ["fs", "layer.erofs"])
        #expect(try Directory(opening: folder.appending("fs")).names().isEmpty)
        #expect(try findings("committed", ground) == [])
    }

    @Test("A layer on a changed snapshot sees the changes")
    func stack() throws {
        let ground = try ground()
        defer { ground.end() }
        try makeBase(ground)
        try ground.make("1", on: "base", change)
        try ground.make("2", on: "1") { root throws in
            try root.removeTree("replaced")
            try root.open("kept").put("below", "2")
            try root.removeFile("hard")
        }
        try ground.shows("2") { root throws in
            #expect(try root.status(of: "replaced") == nil && root.status(of: "hard") == nil)
            #expect(try root.open("kept").read("below") == "2" && root.read("file") == "content")
            #expect(try root.read("changed") == "new content" && root.status(of: "removed") == nil)
        }
    }

    @Test("An image is read-only, and its usage is its size")
    func usage() throws {
        let ground = try ground()
        defer { ground.end() }
        try makeBase(ground)
        let status = try File.status(of: try path(of: "base", in: ground.store))
        #expect(status.mode == 0o400 && status.uid == 0 && status.size.isMultiple(of: 4096))
        #expect(try ground.store.usage(of: "base") == SnapshotUsage(size: status.size, inodes: 1))
    }

    @Test("A mounted snapshot is not committed, and can be committed later with all its changes")
    func mounted() throws {
        let ground = try ground()
        defer { ground.end() }
        try makeBase(ground)
        let mounts = try ground.store.prepare("active", parent: "base", in: ground.run)
        try ground.mounted(mounts) { root throws in
            try root.put("first", "1")
            let failure = kind { try ground.store.commit("active", as: "committed", isSynced: false) }
            #expect(failure == .failedPrecondition)
            try root.put("second", "2")
        }
        #expect(try ground.store.stat("active").kind == .active)
        try ground.store.commit("active", as: "committed", isSynced: false)
        try ground.shows("committed") { root throws in
            #expect(try root.read("first") == "1" && root.read("second") == "2")
        }
    }

    @Test("A commit that fails leaves the snapshot active, and the next one writes the image again")
    func failedCommit() throws {
        let ground = try ground()
        defer { ground.end() }
        let mounts = try ground.store.prepare("active", in: ground.run)
        try ground.mounted(mounts) { try $0.put("first", "1") }
        try ground.store.prepare("taken", in: ground.run)
        #expect(kind { try ground.store.commit("active", as: "taken", isSynced: false) } == .alreadyExists)
        try ground.mounted(try ground.store.mounts(of: "active")) { root in
            try root.put("large", String(repeating: "l", count: 100_000))
            let large = try root.openOrCreateFile("large", mode: 0o600)
            // The kernel has values of up to 65,536 bytes, and EROFS of up to 65,535.
            try large.setExtendedAttribute(
                AttributeName(literal: "trusted.large"), [UInt8](repeating: 1, count: 65_536))
        }
        #expect(
            kind { try ground.store.commit("active", as: "committed", isSynced: false) }
                == .failedPrecondition)
        try ground.mounted(try ground.store.mounts(of: "active")) { try $0.removeFile("large") }
        try ground.store.commit("active", as: "committed", isSynced: false)
        #expect(try ground.tree("committed").map { $0.split(separator: " ")[0] } == [".", "first"])
        let folder = try path(of: "committed", in: ground.store).removingLastComponent()
        #expect(Set(try Directory(opening: folder).names()) == ["fs", "layer.erofs"])
    }

    @Test("Verification finds a changed, a truncated and a missing image")
    func verification() throws {
        let ground = try ground()
        defer { ground.end() }
        try makeBase(ground)
        let image = try path(of: "base", in: ground.store)
        // The first verification of a snapshot that was not synced records it.
        #expect(try findings("base", ground) == nil)
        #expect(try findings("base", ground) == [])
        let file = try File.open(image, .readWrite)
        let size = try file.status().size
        for offset in [0, 1100, 2000, size / 2, size - 1] {
            var byte = [UInt8]()
            try file.read(into: &byte, limit: 1, at: offset)
            try [byte[0] ^ 0x80].withRawSpan { try file.write($0, at: offset) }
            #expect(try findings("base", ground)?.count == 1, "offset \(offset)")
            try byte.withRawSpan { try file.write($0, at: offset) }
            #expect(try findings("base", ground) == [], "offset \(offset)")
        }
        try file.truncate(to: size - 4096)
        #expect(try findings("base", ground)?.first?.hasPrefix("the image is damaged: ") == true)
        try file.truncate(to: size)
        try Directory(opening: image.removingLastComponent()).removeFile("layer.erofs")
        #expect(try findings("base", ground)?.first?.hasPrefix("the tree cannot be read: ") == true)
    }

    @Test("An image that its owner removes while it is made durable is no error")
    func removedMeanwhile() throws {
        let ground = try ground()
        defer { ground.end() }
        try makeBase(ground)
        let image = try path(of: "base", in: ground.store)
        try Directory(opening: image.removingLastComponent()).removeFile("layer.erofs")
        try ground.store.completeCommit(of: "base")
    }

    @Test("The image of a probe that was killed is removed by the next run")
    func killedProbe() throws {
        let ground = try ground()
        defer { ground.end() }
        let folder = try Directory(opening: ground.store.root.appending("erofs"))
        try folder.put(".probe-1", "incomplete")
        _ = try ground.store.startRun()
        #expect(try folder.names().isEmpty)
    }

    /// - Returns: nil if the snapshot was recorded.
    private func findings(_ name: String, _ ground: Ground) throws -> [String]? {
        var found = [String]()
        let result = try ground.store.verify(name, in: ground.run, check: {}) { found.append("\($0)") }
        if case .recorded = result { return nil }
        return found
    }
}
