internal import ContainerdAPI
internal import GRPCCore
internal import GRPCNIOTransportHTTP2
package import Kernel
internal import Streams

/// Serves containerd's services on one socket, until it is asked to stop.
package final class Server: Sendable {
    private let server: GRPCServer<HTTP2ServerTransport.Posix>
    private let calls: Calls
    private let serving = Guarded<Task<Void, any Error>?>(nil)

    /// Bytes of a request: as many as containerd itself takes (containerd `defaults.DefaultMaxRecvMsgSize`).
    private static let largestRequest = 16 << 20

    /// Calls of one connection at a time; a client delays those beyond. One containerd has one connection for all its calls.
    private static let maximumStreams = 1000

    package init(on socket: ListeningSocket, _ services: Services, _ calls: Calls) {
        let transport = HTTP2ServerTransport.Posix(
            listeningSocketDescriptor: Int(socket.descriptor), transportSecurity: .plaintext,
            config: .defaults {
                $0.rpc.maxRequestPayloadSize = Self.largestRequest
                $0.http2.maxConcurrentStreams = Self.maximumStreams
                $0.channelDebuggingCallbacks.onAcceptTCPConnection = ControlFrameHandler.addToServer
                $0.channelDebuggingCallbacks.onAcceptHTTP2Stream = ControlFrameHandler.register
            })
        server = GRPCServer(transport: transport, services: services.all)
        self.calls = calls
    }

    /// Returns when it was stopped, every call has been answered and what calls have left to do is done.
    package func serve() async throws {
        let serving = Task { try await server.serve() }
        self.serving.withLock { $0 = serving }
        do {
            try await serving.value
        } catch {
            // That is how a client is left who does not go.
            if !calls.isStopping { throw error }
        }
        await calls.finish()
    }

    /// Takes no more calls, and lets those end that are here. On any thread; again is nothing.
    package func stop() {
        calls.stop()
        server.beginGracefulShutdown()
        Task {
            while calls.isBusy { try await Task.sleep(for: .milliseconds(20)) }
            // Clients are told, and go. One that does not, or was just about to come, does not keep the server.
            try await Task.sleep(for: Self.patience)
            serving.withLock { $0 }?.cancel()
        }
    }

    private static let patience = Duration.seconds(1)
}

/// What is served.
package struct Services: Sendable {
    let all: [any RegistrableRPCService]

    package init(_ snapshots: SnapshotsService, _ diffs: DiffService) { all = [snapshots, diffs] }
}
