import ContainerdAPI
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2
import SwiftProtobuf
import SystemPackage
import TestSupport
import Testing

typealias Snapshots = Containerd_Services_Snapshots_V1_Snapshots.Client<HTTP2ClientTransport.Posix>

/// The built server, with a store and a socket for one test.
final class RunningServer {
    let scratch: TemporaryDirectory
    let root: FilePath
    let socket: FilePath
    /// The address at which the server expects containerd.
    let containerd: FilePath
    private let arguments: [String]
    private(set) var process: RunningCommand?

    /// - Parameters:
    ///   - arguments: in addition to address and root.
    ///   - folder: the directory for the store; nil for a temporary one.
    init(_ arguments: [String] = [], storeIn folder: FilePath? = nil) throws {
        scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        root = (folder ?? scratch.path).appending("s")
        socket = scratch.path.appending("socket")
        containerd = scratch.path.appending("containerd")
        self.arguments = arguments
        try start()
    }

    static let program = Built.program("unpack-snapshotter")

    func command() -> [String] {
        [
            Self.program.string, "--address", socket.string, "--root", root.string, "--containerd",
            containerd.string,
        ] + arguments
    }

    /// Starts the server, and waits until it serves.
    func start() throws {
        let process = try RunningCommand(command())
        self.process = process
        let isServing = try eventually { !process.isRunning || process.errorText.contains("serving ") }
        if !process.isRunning { try process.finish().succeed() }
        try #require(isServing, "\(process.errorText)")
    }

    /// Kills the server, as the kernel does when memory runs out.
    func kill() {
        process?.kill()
        while process?.isRunning == true { usleep(1000) }
    }

    /// Stops the server, and waits until it has exited.
    func stop() throws -> Command {
        process?.send(SIGTERM)
        return try #require(process).finish()
    }

    deinit { kill() }

    /// Connects to the snapshots service.
    func connected<Result: Sendable>(
        _ body: (Snapshots) async throws -> Result
    ) async throws -> Result {
        try await Self.connected(to: socket, body)
    }

    static func connected<Result: Sendable>(
        to socket: FilePath, _ body: (Snapshots) async throws -> Result
    ) async throws -> Result {
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: socket.string), transportSecurity: .plaintext)
        return try await withGRPCClient(transport: transport) { try await body(Snapshots(wrapping: $0)) }
    }

    /// A command that prints the server's process ID.
    var findProcess: String { "pgrep -f -- '^\(Self.program) --address \(socket) '" }

    /// Returns the peak resident memory of the server in kB (proc(5), `VmHWM`).
    func residentPeak() throws -> Int {
        let status = try Command.run("sh", "-c", "cat /proc/$(\(findProcess))/status").succeed().text
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM") })
        return try #require(line.split(separator: " ").compactMap { Int($0) }.first)
    }

    /// Runs `unpack` on the same store.
    @discardableResult
    func unpack(_ arguments: String...) throws -> Command {
        try Command.run(
            [Built.program("unpack").string] + arguments,
            environment: ["UNPACK_ROOT": root.string, "UNPACK_CONFIG": ""])
    }

    /// Returns the names of the overlayfs snapshots in the store as `unpack snapshot ls` lists them, oldest first.
    func names() throws -> [String] {
        let list = try JSONDecoder().decode(
            [Named].self, from: Data(try unpack("snapshot", "ls", "--json").succeed().output))
        return list.map(\.key)
    }

    private struct Named: Decodable {
        let key: String
    }

    static func fixture(_ name: String) -> String {
        Built.repository.appending("Fixtures").appending(name).string
    }
}

/// Shortcuts for calls.
extension Snapshots {
    func prepare(
        _ key: String, parent: String = "", _ snapshotter: String = "unpack", labels: [String: String] = [:]
    ) async throws -> [Containerd_Types_Mount] {
        try await prepare(
            .with {
                $0.snapshotter = snapshotter
                $0.key = key
                $0.parent = parent
                $0.labels = labels
            }
        ).mounts
    }

    func view(_ key: String, parent: String = "", _ snapshotter: String = "unpack") async throws
        -> [Containerd_Types_Mount]
    {
        try await view(
            .with {
                $0.snapshotter = snapshotter
                $0.key = key
                $0.parent = parent
            }
        ).mounts
    }

    func mounts(_ key: String) async throws -> [Containerd_Types_Mount] {
        try await mounts(
            .with {
                $0.snapshotter = "unpack"
                $0.key = key
            }
        ).mounts
    }

    func commit(_ key: String, as name: String, parent: String = "", labels: [String: String] = [:])
        async throws
    {
        _ = try await commit(
            .with {
                $0.snapshotter = "unpack"
                $0.name = name
                $0.key = key
                $0.labels = labels
                $0.parent = parent
            })
    }

    func remove(_ key: String) async throws {
        _ = try await remove(
            .with {
                $0.snapshotter = "unpack"
                $0.key = key
            })
    }

    func stat(_ key: String, _ snapshotter: String = "unpack") async throws
        -> Containerd_Services_Snapshots_V1_Info
    {
        try await stat(
            .with {
                $0.snapshotter = snapshotter
                $0.key = key
            }
        ).info
    }

    func update(_ name: String, labels: [String: String], _ paths: [String]) async throws
        -> Containerd_Services_Snapshots_V1_Info
    {
        try await update(
            .with {
                $0.snapshotter = "unpack"
                $0.info.name = name
                $0.info.labels = labels
                $0.updateMask.paths = paths
            }
        ).info
    }

    func usage(_ key: String) async throws -> Containerd_Services_Snapshots_V1_UsageResponse {
        try await usage(
            .with {
                $0.snapshotter = "unpack"
                $0.key = key
            })
    }

    /// Returns the names of each message.
    func list(_ filters: [String] = [], _ snapshotter: String = "unpack") async throws -> [[String]] {
        try await list(
            .with {
                $0.snapshotter = snapshotter
                $0.filters = filters
            }
        ) { response in
            var batches = [[String]]()
            for try await message in response.messages { batches.append(message.info.map(\.name)) }
            return batches
        }
    }

    func cleanup() async throws { _ = try await cleanup(.with { $0.snapshotter = "unpack" }) }
}

/// Returns the code of the error that a call fails with; nil if it succeeds.
func code(_ body: () async throws -> Void) async -> RPCError.Code? { await failure(body)?.code }

/// Returns the error that a call fails with; nil if it succeeds.
func failure(_ body: () async throws -> Void) async -> RPCError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? RPCError ?? RPCError(code: .unknown, message: "\(error)")
    }
}

extension RunningServer {
    /// Returns the names in the directory of overlayfs snapshots, sorted.
    func directories() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.appending("overlayfs").string).sorted()
    }
}
