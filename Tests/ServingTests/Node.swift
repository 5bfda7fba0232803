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
            release, at: server.containerd, try Self.configuration(release, of: server))
    }

    /// What `docs/containerd.md` says that is to be pasted, with this test's places in it.
    private static func configuration(
        _ release: ContainerdDaemon.Release, of server: RunningServer
    ) throws -> String {
        let blocks = try MarkdownBlock.all(in: Built.repository.appending("docs/containerd.md"))
            .filter { $0.language == "toml" }
        try #require(blocks.count == 2)
        return blocks[release == .installed ? 0 : 1].text
            .replacing("/run/unpack/snapshotter.sock", with: server.socket.string)
            .replacing("/var/lib/unpack", with: server.root.string)
    }

    /// Imports what an archive has, and unpacks it with a snapshotter.
    func load(_ archive: FilePath, _ snapshotter: String = "unpack") throws {
        try containerd.ctr("images", "import", "--snapshotter", snapshotter, archive.string)
    }

    func pull(_ registry: Registry) throws {
        try containerd.ctr("images", "pull", "--plain-http", "--snapshotter", "unpack", registry.image)
    }

    func snapshots(_ arguments: String..., by snapshotter: String = "unpack") throws -> String {
        try containerd.ctr(["snapshots", "--snapshotter", snapshotter] + arguments)
    }

    /// Removes all images, as far as containerd does that when it is asked to wait.
    func removeImages() throws {
        for name in try containerd.ctr("images", "ls", "-q").split(separator: "\n") {
            try containerd.ctr("images", "rm", "--sync", String(name))
        }
    }

    /// Lends where a key is mounted, as `ctr` says that it is to be.
    func mounted<Result>(
        _ key: String, by snapshotter: String = "unpack", _ body: (FilePath) throws -> Result
    ) throws -> Result {
        let target = try server.scratch.makeDirectory("mounted-\(UInt32.random(in: 0 ... .max))")
        let script = try snapshots("mounts", target.string, key, by: snapshotter)
        try Command.run("sh", "-ec", script).succeed()
        defer { try? unmountWhenFree(target) }
        return try body(target)
    }

    /// What a committed snapshot shows.
    func tree(_ name: String, _ snapshotter: String) throws -> TreeDump {
        var failure: Command.Failure?
        for _ in 0..<10 {
            let key = "look-\(UInt32.random(in: 0 ... .max))"
            do {
                // Left there: a removal starts a collection, and to that a view of a later `ctr` is nobody's.
                _ = try snapshots("view", key, name, by: snapshotter)
                return try mounted(key, by: snapshotter) { try TreeDump(of: try Directory(opening: $0)) }
            } catch let error as Command.Failure {
                // One that an import has started, when its lease ended, may have taken it.
                guard error.description.contains("snapshot \(key) does not exist") else { throw error }
                failure = error
            }
        }
        throw try #require(failure)
    }

    /// The names of what a snapshotter has.
    func names(_ snapshotter: String = "unpack") throws -> Set<String> {
        let lines = try snapshots("ls", by: snapshotter).split(separator: "\n").dropFirst()
        return Set(lines.compactMap { $0.split(separator: " ").first.map(String.init) })
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

/// As `eventually`, for tests whose own calls run meanwhile: no thread that they need waits.
func soon(_ seconds: Double = 30, _ body: () throws -> Bool) async throws -> Bool {
    let end = Date() + seconds
    while Date() < end {
        if try body() { return true }
        try await Task.sleep(for: .milliseconds(20))
    }
    return try body()
}
