import Foundation
import SystemPackage
import TestSupport
import Testing

/// With the real ones: Debian's own containerd and a later one, their own snapshotter beside ours.
@Suite("containerd", .enabled(if: Ability.canMountOverlay, "needs root and overlay mounts"))
struct ContainerdTests {
    typealias Release = ContainerdDaemon.Release

    @Test("Every containerd can be tried here", arguments: Release.allCases)
    func present(release: Release) throws {
        if !Release.present.contains(release) { try Test.cancel("there is no \(release) containerd here") }
    }

    @Test(
        "An image is imported, unpacked, looked at, run and removed, and nothing stays",
        arguments: Release.present)
    func life(release: Release) throws {
        let node = try Node(release)
        let containerd = node.containerd
        try containerd.ctr("images", "import", "--snapshotter", "unpack", try node.image())
        let names = try containerd.ctr("images", "ls", "-q").split(separator: "\n").map(String.init)
        let name = try #require(names.first)
        let chain = try node.chains()
        let top = try #require(chain.last)

        let unpack = ["snapshots", "--snapshotter", "unpack"]
        #expect(try containerd.ctr(unpack + ["tree"]).contains(top))
        let usage = try containerd.ctr(unpack + ["usage", "-b", top]).split(separator: "\n")[1]
            .split(separator: " ").compactMap { Int($0) }
        #expect(usage.count == 2 && usage.allSatisfy { $0 > 0 }, "\(usage)")
        let info = try containerd.ctr(unpack + ["info", top])
        #expect(info.contains(#""Kind": "Committed""#) && info.contains(top))
        try containerd.ctr(unpack + ["prepare", "mine", top])
        #expect(try containerd.ctr(unpack + ["mounts", "/somewhere", "mine"]).contains("upperdir="))
        try containerd.ctr(unpack + ["label", "mine", "containerd.io/snapshot/kind=work", "own=1"])
        let labels = try containerd.ctr(unpack + ["info", "mine"])
        #expect(labels.contains(#""containerd.io/snapshot/kind": "work""#) && labels.contains(#""own": "1""#))
        try containerd.ctr(unpack + ["commit", "theirs", "mine"])
        try containerd.ctr(unpack + ["rm", "theirs"])

        let said = try containerd.ctr(
            "run", "--rm", "--snapshotter", "unpack", name, "c", "/bin/sh", "-c",
            "echo in the container; id -u")
        #expect(said == "in the container\n0\n")

        for name in names { try containerd.ctr("images", "rm", "--sync", name) }
        #expect(try eventually { try node.server.names().isEmpty })
        #expect(try node.server.directories() == [])
    }

    @Test("The tree is the one that containerd's own snapshotter and differ make", arguments: Release.present)
    func tree(release: Release) throws {
        let node = try Node(release)
        // A fixture that containerd's own differ can unpack.
        let archive = node.server.scratch.path.appending("tar.tar").string
        try Command.run("tar", "-cf", archive, "-C", RunningServer.fixture("multi"), ".").succeed()
        for snapshotter in ["unpack", "overlayfs"] {
            try node.containerd.ctr("images", "import", "--snapshotter", snapshotter, archive)
        }
        let (chain, other) = (try node.chains(), try node.chains("overlayfs"))
        #expect(other == chain && !chain.isEmpty)
        let top = try #require(chain.last)
        let (tree, expected) = (try node.tree(top, "unpack").text, try node.tree(top, "overlayfs").text)
        #expect(tree == expected)
    }
}
