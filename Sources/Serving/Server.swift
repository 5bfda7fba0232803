internal import ContainerdAPI
internal import GRPCCore
internal import GRPCNIOTransportHTTP2
package import Kernel

/// Serves containerd's services on one socket, until it is asked to stop.
package final class Server: Sendable {
    private let server: GRPCServer<HTTP2ServerTransport.Posix>
    private let calls: Calls

    /// Bytes of a request: as many as containerd itself takes (containerd `defaults.DefaultMaxRecvMsgSize`).
    private static let largestRequest = 16 << 20

    package init(on socket: ListeningSocket, _ services: Services, _ calls: Calls) {
        let transport = HTTP2ServerTransport.Posix(
            listeningSocketDescriptor: Int(socket.descriptor), transportSecurity: .plaintext,
            config: .defaults { $0.rpc.maxRequestPayloadSize = Self.largestRequest })
        server = GRPCServer(transport: transport, services: services.all)
        self.calls = calls
    }

    /// Returns when it was stopped, every call has been answered and what calls have left to do is done.
    package func serve() async throws {
        try await server.serve()
        await calls.finish()
    }

    /// Takes no more calls. On any thread; again is nothing.
    package func stop() {
        calls.stop()
        server.beginGracefulShutdown()
    }
}

/// What is served.
package struct Services: Sendable {
    let all: [any RegistrableRPCService]

    package init(_ snapshots: SnapshotsService, _ diffs: DiffService) { all = [snapshots, diffs] }
}
