internal import ContainerdAPI
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2
internal import Kernel
internal import Layout
internal import OCI
internal import SwiftProtobuf
package import SystemPackage

/// containerd's content store, where the blobs are that are to be applied and where those go that are made.
package struct ContentStore: Sendable {
    typealias Client = Containerd_Services_Content_V1_Content.Client<HTTP2ClientTransport.Posix>
    typealias Connection = GRPCClient<HTTP2ClientTransport.Posix>

    private let socket: FilePath
    private let folder: FilePath

    /// - Parameters:
    ///   - socket: containerd's own, asked for each blob anew: it may be restarted at any time.
    ///   - folder: where it lies, if it can be seen from here: a blob that is there is read from there, without the way
    ///     through the socket.
    package init(socket: FilePath, folder: FilePath) {
        self.socket = socket
        self.folder = folder.appending("blobs")
    }

    /// Bytes of the connection's window: what comes without a word from here.
    private static let window = 4 << 20

    /// Lends a connection.
    func connected<Result: Sendable>(
        _ body: @Sendable (Connection) async throws -> Result
    ) async throws -> Result {
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: socket.string), transportSecurity: .plaintext,
            config: .defaults {
                $0.http2.targetWindowSize = Self.window
                $0.channelDebuggingCallbacks.onCreateTCPConnection = ControlFrameHandler.addToClient
            })
        return try await withGRPCClient(transport: transport, handleClient: body)
    }

    /// Lends where a blob can be read.
    ///
    /// - Parameter context: whose call it is for.
    func reading<Result: Sendable>(
        _ descriptor: Descriptor, _ context: ContainerdContext,
        _ body: @Sendable (any BlobSource) async throws -> Result
    ) async throws -> Result {
        if let directory = try? Directory(opening: folder) {
            let blobs = BlobFolder(directory)
            if (try? blobs.open(descriptor)) != nil { return try await body(blobs) }
        }
        return try await connected { connection in
            try await body(RemoteBlobs(client: Client(wrapping: connection), context: context))
        }
    }
}

/// For whom containerd calls: its namespace and the lease that keeps what is made. What we ask of containerd in return is
/// for the same.
struct ContainerdContext: Sendable {
    private(set) var metadata: Metadata
    /// Without a connection a call fails at once.
    let options: CallOptions

    private static let lease = "containerd-lease"
    private static let keys = ["containerd-namespace", lease]

    init(_ metadata: Metadata) {
        var own = Metadata()
        for key in Self.keys {
            for value in metadata[stringValues: key] { own.addString(value, forKey: key) }
        }
        self.metadata = own
        options = CallOptions.defaults.with { $0.waitForReady = false }
    }

    /// Seconds for which what is made is kept for whoever has asked for it: long enough to write it and to refer to it.
    private static let leaseTime = 3600.0

    /// With a lease. containerd tells its proxy plugins none of its client's, and content that nothing refers to is collected
    /// at any moment.
    func leased(_ connection: ContentStore.Connection) async throws -> ContainerdContext {
        guard metadata[stringValues: Self.lease].first(where: { _ in true }) == nil else { return self }
        let leases = Containerd_Services_Leases_V1_Leases.Client(wrapping: connection)
        let end = Date.now.addingTimeInterval(Self.leaseTime)
        let response = try await leases.create(
            .with {
                $0.id = "unpack-diff-\(UInt64.random(in: .min ... .max))"
                $0.labels = ["containerd.io/gc.expire": end.formatted(.iso8601)]
            }, metadata: metadata, options: options)
        var context = self
        context.metadata.addString(response.lease.id, forKey: Self.lease)
        return context
    }
}

extension CallOptions {
    fileprivate func with(_ change: (inout Self) -> Void) -> Self {
        var options = self
        change(&options)
        return options
    }
}
