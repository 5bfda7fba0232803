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
            // The cancellation by `stop`.
            if !calls.isStopping { throw error }
        }
        await calls.finish()
    }

    /// Takes no more connections, and lets calls end. On any thread; idempotent.
    ///
    /// A connection ends by itself when its client has all answers and knows that it has to go (GOAWAY). Connections that are
    /// left `patience` after the last call are closed.
    package func stop() {
        calls.stop()
        server.beginGracefulShutdown()
        Task {
            while calls.idleTime < Self.patience { try await Task.sleep(for: .milliseconds(20)) }
            serving.withLock { $0 }?.cancel()
        }
    }

    /// How long a client may take to read its answers. A client that is stopped does not keep the server.
    private static let patience = Duration.seconds(5)
}

/// What is served.
package struct Services: Sendable {
    let all: [any RegistrableRPCService]

    package init(_ snapshots: SnapshotsService, _ diffs: DiffService) { all = [snapshots, diffs] }
}
