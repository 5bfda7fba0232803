import Foundation
import SystemPackage
import TestSupport
import Testing

/// Tests with real containerds, Debian's and a later one, and their overlayfs snapshotter beside this one.
@Suite("containerd", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct ContainerdTests {
    typealias Release = ContainerdDaemon.Release

    @Test("Every containerd is available", arguments: Release.allCases)
    func present(release: Release) throws {
        if !Release.present.contains(release) { try Test.cancel("there is no \(release) containerd here") }
    }

    @Test("An image is imported, inspected, run and removed, and nothing remains", arguments: Release.present)
    func life(release: Release) throws {
        let node = try Node(release)
        let image = try SharedImage(in: node.server.scratch.path, of: node.server)
        try node.load(image.archive)
        let top = image.chains[2]
        #expect(try node.names() == Set(image.chains))
        #expect(try node.snapshots("tree").contains(top))
        let usage = try node.snapshots("usage", "-b", top).split(separator: "\n")[1]
            .split(separator: " ").compactMap { Int($0) }
        #expect(usage.count == 2 && usage.allSatisfy { $0 > 0 }, "\(usage)")
        let info = try node.snapshots("info", top)
        #expect(info.contains(#""Kind": "Committed""#) && info.contains(image.chains[1]))
        _ = try node.snapshots("prepare", "mine", top)
        #expect(try node.snapshots("mounts", "/somewhere", "mine").contains("upperdir="))
        _ = try node.snapshots("label", "mine", "containerd.io/snapshot/kind=work", "own=1")
        let labels = try node.snapshots("info", "mine")
        #expect(labels.contains(#""containerd.io/snapshot/kind": "work""#) && labels.contains(#""own": "1""#))
        _ = try node.snapshots("commit", "theirs", "mine")
        _ = try node.snapshots("rm", "theirs")

        // All containerds share runc's list of containers.
        let output = try node.containerd.ctr(
            "run", "--rm", "--snapshotter", "unpack", SharedImage.name, "life-\(release)", "/bin/sh", "-c",
            "cat /data/one; id -u; echo more >/data/one; ls /gone")
        #expect(output == "changed\n0\nnew\n")

        try node.removeImages()
        #expect(try eventually { try node.server.names().isEmpty })
        #expect(try eventually { try node.server.directories().isEmpty })
    }

    @Test("The tree equals that of containerd's own snapshotter and differ", arguments: Release.present)
    func tree(release: Release) throws {
        let node = try Node(release)
        let image = try SharedImage(in: node.server.scratch.path, of: node.server)
        for snapshotter in ["unpack", "overlayfs"] { try node.load(image.archive, snapshotter) }
        for chain in image.chains {
            let (tree, expected) = (try node.tree(chain, "unpack"), try node.tree(chain, "overlayfs"))
            #expect(Self.comparable(tree) == Self.comparable(expected))
        }
    }

    /// Removes what containerd's differ does not define: the metadata of the root, which it never takes from a layer;
    /// the times of directories to which a later layer adds something, which are those of the unpacking; and times
    /// before 1970, which it does not support.
    static func comparable(_ tree: TreeDump) -> [String] {
        tree.text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            if fields[0] == "." || line.contains("before-epoch") { return nil }
            return fields[1] == "d" ? fields.prefix(4).joined(separator: " ") : String(line)
        }
    }

    @Test(
        "Layers are read as files if the content store is accessible",
        .enabled(if: Release.present.contains(.sid), "needs a containerd with differ plugins"))
    func files() throws {
        let place = try TemporaryDirectory(in: "/dev/shm")
        let content = place.path.appending("content")
        // No containerd listens there.
        let node = try Node(.sid, ["--content", content.string, "--containerd", "/nowhere"])
        let image = try SharedImage(in: node.server.scratch.path, of: node.server)
        try FileManager.default.createSymbolicLink(
            atPath: content.string,
            withDestinationPath: node.containerd.root.appending("io.containerd.content.v1.content").string)
        try node.load(image.archive)
        #expect(try node.names() == Set(image.chains))
    }

    @Test("Namespaces have their own snapshots", arguments: Release.present)
    func namespaces(release: Release) throws {
        let node = try Node(release)
        let image = try SharedImage(in: node.server.scratch.path, of: node.server)
        for namespace in ["one", "two"] {
            try node.containerd.ctr(
                "-n", namespace, "images", "import", "--snapshotter", "unpack", image.archive.string)
        }
        #expect(try node.server.names().count == 6)
        try node.containerd.ctr("-n", "one", "images", "rm", "--sync", SharedImage.name)
        #expect(try eventually { try node.server.names().count == 3 })
        #expect(try node.server.names().allSatisfy { $0.hasPrefix("unpack:two/") })
        try node.containerd.ctr(
            "-n", "two", "snapshots", "--snapshotter", "unpack", "view", "look", image.chains[2])
    }

    @Test("containerd publishes snapshot events", arguments: Release.present)
    func events(release: Release) throws {
        let node = try Node(release)
        let events = try node.containerd.startCtr(["events"])
        defer { events.kill() }
        // Events from before the subscription are not delivered.
        var count = 0
        let isListening = try eventually {
            count += 1
            _ = try node.snapshots("prepare", "early-\(count)")
            return !events.outputText.isEmpty
        }
        #expect(isListening)
        _ = try node.snapshots("prepare", "key")
        _ = try node.snapshots("commit", "name", "key")
        _ = try node.snapshots("rm", "name")
        let wanted = [
            ("/snapshot/prepare", [#""key":"key""#]),
            ("/snapshot/commit", [#""key":"key""#, #""name":"name""#]),
            ("/snapshot/remove", [#""key":"name""#]),
        ]
        for (topic, fields) in wanted {
            let came = try eventually {
                events.outputText.split(separator: "\n").contains { line in
                    line.contains(topic) && fields.allSatisfy { line.contains($0) }
                }
            }
            #expect(came, "\(topic): \(events.outputText)")
        }
    }

    /// Before 2.0, `ctr` does not name the chain of a layer when it prepares a snapshot, unlike the CRI plugin.
    @Test(
        "An image that `unpack IMAGE` has unpacked is not unpacked again, and stays until both sides remove it",
        .enabled(if: Release.present.contains(.sid) && Registry.isHere, "needs containerd 2, a registry"))
    func warm() throws {
        let node = try Node(.sid)
        let image = try SharedImage(in: node.server.scratch.path, of: node.server)
        let line = try node.server.unpack("-q", image.layout.string).succeed().text
        let registry = try Registry()
        try registry.push(image.layout)
        try node.pull(registry)
        // Each layer keeps its own name: containerd has neither prepared nor applied any.
        #expect(try node.server.names() == image.chains)
        let content = try node.containerd.ctr("content", "ls", "-q")
        #expect(!image.blobs.contains { content.contains($0) })
        let log = node.server.process?.errorText ?? ""
        #expect(!log.contains(" Apply ") && !log.contains(" Commit "), "\(log)")
        #expect(
            try node.containerd.ctr(
                "run", "--rm", "--snapshotter", "unpack", registry.image, "c", "/bin/sh", "-c",
                "cat /data/one")
                == "changed\n")

        try node.removeImages()
        #expect(try eventually { try node.names().isEmpty })
        #expect(try node.server.unpack("-q", image.layout.string).succeed().text == line)

        try node.pull(registry)
        try node.server.unpack("rm", SharedImage.name).succeed()
        try node.server.unpack("prune").succeed()
        #expect(try node.server.names() == image.chains)
        #expect(
            try node.containerd.ctr(
                "run", "--rm", "--snapshotter", "unpack", registry.image, "d", "/bin/sh", "-c",
                "cat /data/one")
                == "changed\n")
        try node.removeImages()
        #expect(try eventually { try node.server.directories().isEmpty })
    }

    @Test(
        "The layer of a container's changes is correct and reproducible",
        .enabled(if: Release.present.contains(.sid), "needs a containerd with differ plugins"))
    func diff() throws {
        let node = try Node(.sid)
        let image = try SharedImage(in: node.server.scratch.path, of: node.server)
        try node.load(image.archive)
        _ = try node.snapshots("prepare", "work", image.chains[2])
        try node.mounted("work") { target throws in
            let script = "echo new >new; rm data/null; echo more >>data/one; rm -r gone"
            try Command.run(["sh", "-ec", script], in: target).succeed()
        }
        let blobs = try (1...2).map { _ in
            try node.containerd.tryCtr(
                ["snapshots", "--snapshotter", "unpack", "diff", "work"]).succeed().output
        }
        #expect(blobs[0] == blobs[1])
        let file = try node.server.scratch.write("diff.tar.gz", blobs[0])
        let names = try Command.run("tar", "-tzf", file.string).succeed().text.split(separator: "\n")
        #expect(
            names == ["./", "data/", "data/.wh.null", "data/one", ".wh.gone", "new"])
    }
}
