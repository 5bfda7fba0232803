import Erofs
import ErofsFiles
import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// Tests with real containerds and the snapshotter erofs, whose layers the server mounts for them.
@Suite(
    "containerd and layers as EROFS images",
    .enabled(if: TestEnvironment.canMountOverlay && TestEnvironment.canMountErofs, "needs root and EROFS"))
struct ErofsServiceTests {
    typealias Release = ContainerdDaemon.Release

    private static let arguments = ["--snapshotter", "unpack=erofs"]

    /// The directories of a store that EROFS is mounted on.
    private func mounts(of server: RunningServer) throws -> [Substring] {
        let table = String(decoding: try File.contents(of: "/proc/self/mountinfo"), as: UTF8.self)
        return table.split(separator: "\n").filter { $0.contains(" - erofs ") }.compactMap { line in
            line.split(separator: " ").first { $0.hasPrefix("\(server.root.string)/erofs/") }
        }
    }

    private func directories(of server: RunningServer) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: server.root.appending("erofs").string)
    }

    @Test(
        "An image is imported, run, changed, committed and removed, and nothing remains",
        arguments: Release.present)
    func life(release: Release) throws {
        let node = try Node(release, Self.arguments)
        let server = node.server
        let image = try SharedImage(in: server.scratch.path, of: server)
        try node.load(image.archive)
        #expect(try node.names() == Set(image.chains))
        for name in try directories(of: server) {
            let folder = server.root.appending("erofs").appending(name)
            #expect(
                try Set(FileManager.default.contentsOfDirectory(atPath: folder.string)) == [
                    "fs", "layer.erofs",
                ])
            let path = folder.appending("layer.erofs")
            let image = try ErofsImage(FileStore(path), length: UInt64(File.status(of: path).size))
            // The server's differ writes the tar itself. That of an earlier containerd writes files, and the commit makes
            // an image of these.
            #expect((image.tarLength != nil) == (release == .sid))
        }
        // Each layer is mounted once, however many snapshots are based on it.
        for number in 1...3 { _ = try node.snapshots("prepare", "key-\(number)", image.chains[2]) }
        let mounted = try mounts(of: server)
        #expect(mounted.count == image.chains.count)
        let output = try node.containerd.ctr(
            "run", "--rm", "--snapshotter", "unpack", SharedImage.name, "erofs-\(release)", "/bin/sh", "-c",
            "cat /data/one; id -u; echo more >/data/one; ls /gone")
        #expect(output == "changed\n0\nnew\n")
        try node.mounted("key-1") {
            try Data("2".utf8).write(to: URL(fileURLWithPath: $0.appending("new").string))
        }
        _ = try node.snapshots("commit", "changed", "key-1")
        _ = try node.snapshots("prepare", "look", "changed")
        let changed = try node.mounted("look") { try TreeDump(of: try Directory(opening: $0)) }
        #expect(changed["new"] != nil && changed["data/one"] != nil)
        for name in ["look", "changed", "key-2", "key-3"] { _ = try node.snapshots("rm", name) }
        try node.removeImages()
        #expect(
            try eventually { try directories(of: server).isEmpty }, "\(server.process?.errorText ?? "")")
        #expect(try mounts(of: server).isEmpty)
    }

    @Test("The tree equals that of containerd's overlayfs", arguments: Release.present)
    func tree(release: Release) throws {
        let node = try Node(release, Self.arguments)
        let image = try SharedImage(in: node.server.scratch.path, of: node.server)
        for snapshotter in ["unpack", "overlayfs"] { try node.load(image.archive, snapshotter) }
        for chain in image.chains {
            let (tree, expected) = (try node.tree(chain, "unpack"), try node.tree(chain, "overlayfs"))
            #expect(ContainerdTests.comparable(tree) == ContainerdTests.comparable(expected))
        }
        try node.removeImages()
    }

    @Test(
        "The layers of an image that 'unpack' has verified are adopted, and mounted again after a reboot",
        .enabled(if: Release.present.contains(.sid), "needs a containerd that asks for layers"))
    func adoption() throws {
        let node = try Node(.sid, Self.arguments)
        let server = node.server
        let image = try SharedImage(in: server.scratch.path, of: server)
        try server.unpack("-q", image.layout.string, "--snapshotter", "erofs").succeed()
        let before = Set(try directories(of: server))
        try node.load(image.archive)
        #expect(Set(try directories(of: server)) == before && before.count == image.chains.count)
        _ = try node.snapshots("prepare", "key", image.chains[2])
        let tree = try node.mounted("key") { try TreeDump(of: try Directory(opening: $0)) }
        // A reboot ends all mounts.
        for name in before {
            try Command.run("umount", server.root.appending("erofs").appending(name).appending("fs").string)
                .succeed()
        }
        server.kill()
        try server.start()
        #expect(try mounts(of: server).isEmpty)
        #expect(try node.mounted("key") { try TreeDump(of: try Directory(opening: $0)) } == tree)
        #expect(try mounts(of: server).count == image.chains.count)
        // The image in the store keeps the layers, and 'unpack verify' finds them as they were written.
        try server.unpack("verify", "-q", "--snapshotter", "erofs").succeed()
        _ = try node.snapshots("rm", "key")
        try node.removeImages()
        try server.unpack("prune", "--snapshotter", "erofs").succeed()
        #expect(try eventually { Set(try directories(of: server)) == before })
        let digest = try Command.run(
            "sqlite3", server.root.appending("metadata.db").string, "SELECT manifest FROM image"
        ).succeed().text.trimmingCharacters(in: .newlines)
        // The server has mounted them, and nothing uses them.
        try server.unpack("rm", digest, "--snapshotter", "erofs").succeed()
        #expect(try eventually { try directories(of: server).isEmpty })
        #expect(try mounts(of: server).isEmpty)
    }
}
