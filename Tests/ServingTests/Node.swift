import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// A node: containerd with the server as its proxy plugin, for snapshots and, where it knows such a plugin, for layers.
final class Node {
    let server: RunningServer
    let containerd: ContainerdDaemon

    /// - Parameter arguments: the server's.
    init(_ release: ContainerdDaemon.Release, _ arguments: [String] = []) throws {
        server = try RunningServer(arguments)
        containerd = try ContainerdDaemon(
            release, at: server.containerd, Self.configuration(release, server.socket))
    }

    /// As `docs/containerd.md` has it.
    private static func configuration(_ release: ContainerdDaemon.Release, _ socket: FilePath) -> String {
        let snapshots = """
            [proxy_plugins.unpack]
            type = "snapshot"
            address = "\(socket)"

            """
        guard release == .later else { return snapshots }
        return snapshots + """
            [proxy_plugins.unpack-diff]
            type = "diff"
            address = "\(socket)"
            [plugins."io.containerd.service.v1.diff-service"]
            default = ["unpack-diff", "walking"]
            [[plugins."io.containerd.transfer.v1.local".unpack_config]]
            platform = "linux"
            snapshotter = "unpack"
            differ = "unpack-diff"
            [[plugins."io.containerd.transfer.v1.local".unpack_config]]
            platform = "linux"
            snapshotter = "overlayfs"
            differ = "walking"
            """
    }

    /// A fixture that this release can unpack: the installed one's differ knows no hard link into a lower layer.
    func image() throws -> String {
        let name = containerd.release == .later ? "busybox" : "multi"
        let archive = server.scratch.path.appending("\(name).tar")
        try Command.run("tar", "-cf", archive.string, "-C", RunningServer.fixture(name), ".").succeed()
        return archive.string
    }

    /// The tree that a snapshotter's view of an image shows.
    func tree(_ chain: String, _ snapshotter: String) throws -> TreeDump {
        let key = "look-\(UInt32.random(in: 0 ... .max))"
        let target = try server.scratch.makeDirectory(key)
        let line = try containerd.ctr(
            "snapshots", "--snapshotter", snapshotter, "view", "--mounts", key, chain)
        defer { _ = try? containerd.ctr("snapshots", "--snapshotter", snapshotter, "rm", key) }
        struct Described: Decodable {
            let `Type`: String
            let Source: String
            let Options: [String]
        }
        let mounts = try JSONDecoder().decode([Described].self, from: Data(line.utf8))
        for mount in mounts {
            let options = mount.Options.filter { $0 != "rbind" } + (mount.Type == "bind" ? ["bind"] : [])
            try Command.run(
                "mount", "-t", mount.Type == "bind" ? "none" : mount.Type, "-o",
                options.joined(separator: ","),
                mount.Source, target.string
            ).succeed()
        }
        defer { for _ in mounts { try? unmountWhenFree(target) } }
        return try TreeDump(of: try Directory(opening: target))
    }

    /// The chains that a snapshotter has committed, lowest first.
    func chains(_ snapshotter: String = "unpack") throws -> [String] {
        let lines = try containerd.ctr("snapshots", "--snapshotter", snapshotter, "ls").split(separator: "\n")
        let rows = lines.dropFirst().map { $0.split(separator: " ").map(String.init) }
            .filter { $0.last == "Committed" }
        var chain = [String]()
        while let next = rows.first(where: { $0.count == 2 ? chain.isEmpty : $0[1] == chain.last }) {
            chain.append(next[0])
        }
        return chain
    }
}

/// Tries until something holds: what containerd collects it collects in the background.
func eventually(_ seconds: Double = 30, _ body: () throws -> Bool) throws -> Bool {
    let end = Date() + seconds
    while Date() < end {
        if try body() { return true }
        usleep(50_000)
    }
    return try body()
}
