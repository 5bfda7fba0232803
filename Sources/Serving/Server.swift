internal import ContainerdAPI
internal import GRPCCore
internal import GRPCNIOTransportHTTP2
package import Kernel

/// Serves containerd's services on one socket until it is asked to stop.
package final class Server: Sendable {
    private let server: GRPCServer<HTTP2ServerTransport.Posix>
    private let calls: CallRunner
    private let serving = Locked<Task<Void, any Error>?>(nil)

    /// Bytes of a request: as many as containerd itself accepts (containerd `defaults.DefaultMaxRecvMsgSize`).
    private static let largestRequest = 16 << 20

    /// The limit of concurrent calls of a connection; a client delays further calls. containerd uses one connection for
    /// all calls.
    private static let maximumStreams = 1000

    package init(on socket: ListeningSocket, _ services: Services, _ calls: CallRunner) {
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

    /// Returns after a stop, when all calls have been answered and their background work is done.
    package func serve() async throws {
        let serving = Task { try await server.serve() }
        self.serving.withLock { $0 = serving }
        do {
            try await serving.value
        } catch {
            // `stop` has cancelled the task.
            if !calls.isStopping { throw error }
        }
        await calls.finish()
    }

    /// Refuses new connections and calls, and lets running calls end. May be called on any thread; idempotent.
    ///
    /// A connection ends by itself when its client has read all answers and the GOAWAY frame. Connections that are
    /// still open `patience` after the last call are closed.
    package func stop() {
        calls.stop()
        server.beginGracefulShutdown()
        Task {
            while calls.idleTime < Self.patience { try await Task.sleep(for: .milliseconds(20)) }
            serving.withLock { $0 }?.cancel()
        }
    }

    /// How long clients may take to read their answers after the last call, so that a suspended client cannot prevent
    /// the stop.
    private static let patience = Duration.seconds(5)
}

/// The services of the server.
package struct Services: Sendable {
    let all: [any RegistrableRPCService]

    package init(_ snapshots: SnapshotsService, _ diffs: DiffService) { all = [snapshots, diffs] }
}
