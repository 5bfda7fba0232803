internal import ContainerdAPI
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2
internal import Kernel
internal import Layout
internal import OCI
internal import SwiftProtobuf
package import SystemPackage

/// containerd's content store: the source of blobs to apply, and the destination of blobs that are made.
package struct ContentStore: Sendable {
    typealias Client = Containerd_Services_Content_V1_Content.Client<HTTP2ClientTransport.Posix>
    typealias Connection = GRPCClient<HTTP2ClientTransport.Posix>

    private let socket: FilePath
    private let folder: FilePath

    /// - Parameters:
    ///   - socket: containerd's socket. Each call connects anew, because containerd may restart at any time.
    ///   - folder: the directory of the content store. A blob that this process can open there is read as a file,
    ///     without the socket.
    package init(socket: FilePath, folder: FilePath) {
        self.socket = socket
        self.folder = folder.appending("blobs")
    }

    /// Bytes of the HTTP/2 flow-control window.
    private static let window = 4 << 20

    /// Provides a connection to containerd.
    func withConnection<Result: Sendable>(
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

    /// Provides a source for a blob: the directory of the content store if the blob is there, else containerd's socket.
    ///
    /// - Parameter context: namespace and lease of the call that needs the blob.
    func withBlobSource<Result: Sendable>(
        _ descriptor: Descriptor, _ context: ContainerdContext,
        _ body: @Sendable (any BlobSource) async throws -> Result
    ) async throws -> Result {
        if let directory = try? Directory(opening: folder) {
            let blobs = BlobDirectory(directory)
            if (try? blobs.open(descriptor)) != nil { return try await body(blobs) }
        }
        return try await withConnection { connection in
            try await body(RemoteBlobs(client: Client(wrapping: connection), context: context))
        }
    }
}

/// The namespace and the lease of a call from containerd. Requests to containerd during that call use the same ones.
struct ContainerdContext: Sendable {
    private(set) var metadata: Metadata
    /// The options of requests to containerd: without a connection they fail at once.
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

    /// Seconds for which a lease keeps a blob: enough to write it, and for the client to reference it.
    private static let leaseTime = 3600.0

    /// Returns a context with a lease, creating one if the call has none. containerd does not pass its client's lease
    /// to proxy plugins, and may collect unreferenced content at any time.
    func withLease(_ connection: ContentStore.Connection) async throws -> ContainerdContext {
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
