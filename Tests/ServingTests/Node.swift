import Foundation
import Kernel
import Streams
import SystemPackage
import TestSupport
import Testing

/// A node: containerd with the server as its proxy plugin for snapshots and, if this release supports it, for diffs.
final class Node {
    let server: RunningServer
    let containerd: ContainerdDaemon

    /// - Parameter arguments: additional arguments of the server.
    init(_ release: ContainerdDaemon.Release, _ arguments: [String] = []) throws {
        server = try RunningServer(arguments)
        containerd = try ContainerdDaemon(
            release, at: server.containerd, try Self.configuration(release, of: server))
    }

    /// Returns the configuration from `docs/containerd.md` with the paths of this test.
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

    /// Imports an archive, and unpacks it with a snapshotter.
    func load(_ archive: FilePath, _ snapshotter: String = "unpack") throws {
        try containerd.ctr("images", "import", "--snapshotter", snapshotter, archive.string)
    }

    func pull(_ registry: Registry) throws {
        try containerd.ctr("images", "pull", "--plain-http", "--snapshotter", "unpack", registry.image)
    }

    func snapshots(_ arguments: String..., by snapshotter: String = "unpack") throws -> String {
        try containerd.ctr(["snapshots", "--snapshotter", snapshotter] + arguments)
    }

    /// Removes all images with `ctr images rm --sync`, which waits for a collection.
    func removeImages() throws {
        for name in try containerd.ctr("images", "ls", "-q").split(separator: "\n") {
            try containerd.ctr("images", "rm", "--sync", String(name))
        }
    }

    /// Collects garbage: deleting a lease synchronously starts a collection and waits for it. After other deletions
    /// containerd collects only when a number of changes has followed.
    func collectGarbage() throws {
        try containerd.ctr("leases", "create", "--id", "collection")
        try containerd.ctr("leases", "rm", "--sync", "collection")
    }

    /// Mounts a snapshot with the commands that `ctr` prints, and passes the mount point to `body`.
    func mounted<Result>(
        _ key: String, by snapshotter: String = "unpack", _ body: (FilePath) throws -> Result
    ) throws -> Result {
        let target = try server.scratch.makeDirectory("mounted-\(UInt32.random(in: 0 ... .max))")
        let script = try snapshots("mounts", target.string, key, by: snapshotter)
        try Command.run("sh", "-ec", script).succeed()
        defer { try? unmountWhenFree(target) }
        return try body(target)
    }

    /// Returns the tree of a committed snapshot.
    func tree(_ name: String, _ snapshotter: String) throws -> TreeDump {
        var failure: Command.Failure?
        for _ in 0..<10 {
            let key = "look-\(UInt32.random(in: 0 ... .max))"
            do {
                // The view is not removed: a removal starts a collection, which removes the views of a later `ctr` as
                // unreferenced.
                _ = try snapshots("view", key, name, by: snapshotter)
                return try mounted(key, by: snapshotter) { try TreeDump(of: try Directory(opening: $0)) }
            } catch let error as Command.Failure {
                // A collection that an import has started at the end of its lease may have removed the view.
                guard error.description.contains("snapshot \(key) does not exist") else { throw error }
                failure = error
            }
        }
        throw try #require(failure)
    }

    /// Returns the names of a snapshotter's snapshots.
    func names(_ snapshotter: String = "unpack") throws -> Set<String> {
        let lines = try snapshots("ls", by: snapshotter).split(separator: "\n").dropFirst()
        return Set(lines.compactMap { $0.split(separator: " ").first.map(String.init) })
    }
}

/// Polls until a condition holds: containerd collects garbage in the background.
func eventually(_ seconds: Double = 30, _ body: () throws -> Bool) throws -> Bool {
    let end = Date() + seconds
    while Date() < end {
        if try body() { return true }
        usleep(50_000)
    }
    return try body()
}

/// As `eventually`, for tests with tasks of their own: it does not block a thread of the cooperative pool.
func soon(_ seconds: Double = 30, _ body: () throws -> Bool) async throws -> Bool {
    let end = Date() + seconds
    while Date() < end {
        if try body() { return true }
        try await Task.sleep(for: .milliseconds(20))
    }
    return try body()
}

/// Runs `body`, which blocks, on a thread of its own: Swift's pool has one thread for each test that runs.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        do {
            try WorkerThread { continuation.resume(with: Result(catching: body)) }.detach()
        } catch {
            continuation.resume(throwing: error)
        }
    }
}
