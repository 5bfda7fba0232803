import ContainerdAPI
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2
import Kernel
import OCI
import SwiftProtobuf
import Synchronization
import SystemPackage
import TestSupport
import Testing

typealias Diffs = Containerd_Services_Diff_V1_Diff.Client<HTTP2ClientTransport.Posix>

/// Tests the diff service with a containerd that is running, suspended, killed or missing.
@Suite("The diff service", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct DiffServiceTests {
    private static let release = ContainerdDaemon.Release.present.last ?? .installed

    @Test("Snapshots are served while many layers wait for a suspended containerd")
    func hanging() async throws {
        let node = try Node(Self.release)
        let blob = try node.ingest(Self.layer)
        let targets = try (0..<40).map { try node.server.scratch.makeDirectory("target-\($0)") }
        node.containerd.pause()
        defer { node.containerd.resume() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            let socket = node.server.socket
            for target in targets {
                group.addTask {
                    try await RunningServer.diffing(on: socket) { _ = try await $0.apply(blob, onto: target) }
                }
            }
            try await Task.sleep(for: .seconds(1))
            let answered = await withTaskGroup(of: Bool.self) { group in
                group.addTask {
                    (try? await RunningServer.connected(to: socket) { try await $0.prepare("a") }) != nil
                }
                group.addTask {
                    try? await Task.sleep(for: .seconds(30))
                    return false
                }
                defer { group.cancelAll() }
                return await group.next() ?? false
            }
            #expect(answered)
            node.containerd.resume()
            try await group.waitForAll()
        }
        for target in targets { #expect(try Self.names(in: target) == ["data", "file"]) }
    }

    @Test("A stop waits for a layer that a slow containerd delays")
    func stopped() async throws {
        let node = try Node(Self.release)
        let folder = try node.server.scratch.makeDirectory("new")
        try node.server.scratch.write("new/file", [1, 2, 3])
        node.containerd.pause()
        defer { node.containerd.resume() }
        let socket = node.server.socket
        let isConnected = Atomic(false)
        async let made = RunningServer.diffing(on: socket) { client in
            var bad = Containerd_Types_Descriptor()
            bad.digest = "none"
            #expect(await code { _ = try await client.apply(bad, onto: folder) } == .invalidArgument)
            isConnected.store(true, ordering: .releasing)
            return try await client.diff(from: nil, to: folder)
        }
        let isCalled = try await soon { isConnected.load(ordering: .acquiring) }
        #expect(isCalled)
        try await Task.sleep(for: .milliseconds(500))
        node.server.process?.send(SIGTERM)
        try await Task.sleep(for: .seconds(2))
        #expect(node.server.process?.isRunning == true)
        node.containerd.resume()
        let digest = try await made.digest
        let content = try node.containerd.ctr("content", "ls", "-q")
        #expect(content.contains(digest))
        let end = try #require(node.server.process).finish()
        #expect(end.status == 0, "\(end.report)")
    }

    @Test("If the client disconnects, nothing of its layer is applied")
    func vanished() async throws {
        let node = try Node(Self.release)
        let blob = try node.ingest(Self.layer)
        let folder = try node.server.scratch.makeDirectory("target")
        node.containerd.pause()
        defer { node.containerd.resume() }
        let socket = node.server.socket
        let before = try Self.changeTime(of: folder)
        let client = Task {
            try await RunningServer.diffing(on: socket) { _ = try await $0.apply(blob, onto: folder) }
        }
        // The server tests whether the directory can hold layers before it reads anything.
        let isBegun = try await soon { try Self.changeTime(of: folder) != before }
        #expect(isBegun)
        client.cancel()
        _ = await client.result
        node.containerd.resume()
        let isOver = try await soon {
            node.server.process?.errorText.contains(": CANCELLED") == true
        }
        let log = node.server.process?.errorText ?? ""
        #expect(isOver, "\(log)")
        #expect(try Self.names(in: folder).isEmpty)
        try await RunningServer.diffing(on: socket) { _ = try await $0.apply(blob, onto: folder) }
        #expect(try Self.names(in: folder) == ["data", "file"])
    }

    @Test("The log contains every call with its outcome", .timeLimit(.minutes(1)))
    func log() async throws {
        let node = try Node(Self.release, ["--log-format", "json"])
        let folder = try node.server.scratch.makeDirectory("new")
        try node.server.scratch.write("new/file", [1, 2, 3])
        let blob = try node.ingest(Self.layer)
        let digest = try await RunningServer.diffing(on: node.server.socket) { client in
            let made = try await client.diff(from: nil, to: folder)
            var bad = blob
            bad.digest = "sha256:none"
            #expect(await code { _ = try await client.apply(bad, onto: folder) } == .invalidArgument)
            bad = blob
            bad.size = -1
            #expect(await code { _ = try await client.apply(bad, onto: folder) } == .invalidArgument)
            return made.digest
        }
        node.containerd.kill()
        try await RunningServer.diffing(on: node.server.socket) { client in
            #expect(await code { _ = try await client.diff(from: nil, to: folder) } == .unavailable)
            #expect(await code { _ = try await client.apply(blob, onto: folder) } == .internalError)
        }
        let lines = try node.server.stop().errorText.split(separator: "\n").compactMap {
            try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
        }
        let logged = lines.compactMap { line -> String? in
            guard let method = line["method"] as? String, ["Apply", "Diff"].contains(method) else {
                return nil
            }
            return "\(method) \(line["code"] ?? "") \(line["digest"] ?? "")"
        }
        #expect(
            logged == [
                "Diff OK \(digest)", "Apply INVALID_ARGUMENT sha256:none",
                "Apply INVALID_ARGUMENT \(blob.digest)", "Diff UNAVAILABLE ", "Apply INTERNAL \(blob.digest)",
            ])
    }

    @Test(
        "Errors of the diff service have their own code and message, and no metadata of containerd's response"
    )
    func errors() async throws {
        let node = try Node(Self.release)
        let folder = try node.server.scratch.makeDirectory("new")
        try node.server.scratch.write("new/file", [1, 2, 3])
        try await RunningServer.diffing(on: node.server.socket) { client in
            // containerd tries its next differ after UNIMPLEMENTED only.
            let unsupported = await failure { _ = try await client.diff(from: nil, to: folder, as: "fuse") }
            #expect(unsupported?.code == .unimplemented && unsupported?.message.contains("'fuse'") == true)
            let missing = node.server.scratch.path.appending("missing")
            let absent = await failure { _ = try await client.diff(from: nil, to: missing) }
            #expect(absent?.code == .notFound && absent?.message.contains("missing") == true)
            // Errors of containerd itself: for a call, and for a blob with a label that is too long.
            let nowhere = await failure { _ = try await client.diff(from: nil, to: folder, in: nil) }
            #expect(nowhere?.code == .failedPrecondition, "\(String(describing: nowhere))")
            let long = ["l": String(repeating: "\u{E9}", count: 5000)]
            let refused = await failure { _ = try await client.diff(from: nil, to: folder, labels: long) }
            #expect(refused?.code == .invalidArgument, "\(String(describing: refused))")
            #expect((refused?.message.utf8.count ?? 0) < 4200)
            var bad = Containerd_Types_Descriptor()
            bad.digest = "none"
            let own = await failure { _ = try await client.apply(bad, onto: folder) }
            for error in [unsupported, absent, nowhere, refused] { #expect(error?.metadata == own?.metadata) }
            _ = try await client.diff(from: nil, to: folder)
        }
    }

    @Test(
        "A layer that needs far more than 200 PINGs of containerd's connection is made",
        .timeLimit(.minutes(2)))
    func large() async throws {
        let node = try Node(Self.release)
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        let folder = try scratch.makeDirectory("new")
        // 300 MB of incompressible data.
        try Command.run("sh", "-c", #"head -c 300000000 /dev/urandom >"$0/file""#, folder.string).succeed()
        let made = try await RunningServer.diffing(on: node.server.socket) { client in
            try await client.diff(from: nil, to: folder)
        }
        #expect(made.size > 300_000_000)
        let content = try node.containerd.ctr("content", "ls", "-q")
        #expect(content.contains(made.digest))
    }

    private static let layer = LayerBuilder(
        .directory("."), .directory("data"), .file("data/one", "1\n"), .file("file", "2\n"))

    private static func changeTime(of folder: FilePath) throws -> String {
        try Command.run("stat", "-c", "%z", folder.string).succeed().text
    }

    private static func names(in folder: FilePath) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.string).sorted()
    }
}

extension RunningServer {
    /// Connects to the diff service.
    static func diffing<Result: Sendable>(
        on socket: FilePath, _ body: (Diffs) async throws -> Result
    ) async throws -> Result {
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: socket.string), transportSecurity: .plaintext)
        return try await withGRPCClient(transport: transport) { try await body(Diffs(wrapping: $0)) }
    }
}

extension Node {
    /// Writes a layer to the content store.
    func ingest(_ layer: LayerBuilder) throws -> Containerd_Types_Descriptor {
        let bytes = layer.tar
        let digest = OCI.Digest(.sha256, of: bytes).description
        let file = try server.scratch.write("blob", bytes)
        // containerd may collect the blob at any time until it has a label that keeps it.
        let isKept = try eventually {
            try Command.run(
                "sh", "-c", #"exec "$@" <"$0""#, file.string, containerd.release.program("ctr"), "-a",
                containerd.socket.string, "content", "ingest", "--expected-digest", digest, "blob"
            ).succeed()
            return try containerd.tryCtr(["content", "label", digest, "containerd.io/gc.root=test"]).status
                == 0
        }
        #expect(isKept)
        return .with {
            $0.mediaType = Packing.none.mediaType.rawValue
            $0.digest = digest
            $0.size = Int64(bytes.count)
        }
    }
}

/// Shortcuts for calls in containerd's default namespace.
extension Diffs {
    private static var metadata: Metadata { ["containerd-namespace": "default"] }

    func apply(
        _ blob: Containerd_Types_Descriptor, onto folder: FilePath
    ) async throws -> Containerd_Types_Descriptor {
        try await apply(
            .with {
                $0.diff = blob
                $0.mounts = [.bind(folder)]
            }, metadata: Self.metadata
        ).applied
    }

    /// - Parameters:
    ///   - type: the type of the mount of `new`.
    ///   - namespace: nil for a call without a namespace.
    func diff(
        from old: FilePath?, to new: FilePath, as type: String = "bind", labels: [String: String] = [:],
        in namespace: String? = "default"
    ) async throws -> Containerd_Types_Descriptor {
        try await diff(
            .with {
                $0.left = old.map { [.bind($0)] } ?? []
                $0.right = [.bind(new)]
                $0.right[0].type = type
                $0.labels = labels
            }, metadata: namespace.map { ["containerd-namespace": .string($0)] } ?? [:]
        ).diff
    }
}

extension Containerd_Types_Mount {
    static func bind(_ folder: FilePath) -> Self {
        .with {
            $0.type = "bind"
            $0.source = folder.string
            $0.options = ["rbind", "rw"]
        }
    }
}
