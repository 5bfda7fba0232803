internal import ContainerdAPI
internal import GRPCCore
internal import GRPCNIOTransportHTTP2
package import Kernel
internal import Layout
internal import OCI
package import SystemPackage

/// containerd's content store, where the blobs are that are to be applied and where those go that are made.
package struct ContentStore: Sendable {
    typealias Client = Containerd_Services_Content_V1_Content.Client<HTTP2ClientTransport.Posix>

    private let socket: FilePath
    private let folder: BlobFolder?

    /// - Parameters:
    ///   - socket: containerd's own, asked for each blob anew: it may be restarted at any time.
    ///   - folder: the store's `blobs`; a blob that is there is read from there.
    package init(socket: FilePath, folder: Directory?) {
        self.socket = socket
        self.folder = folder.map(BlobFolder.init)
    }

    /// Bytes of the connection's window: what comes without a word from here.
    private static let window = 4 << 20

    /// Lends a connection.
    func connected<Result: Sendable>(
        _ body: @Sendable (Client) async throws -> Result
    ) async throws -> Result {
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: socket.string), transportSecurity: .plaintext,
            config: .defaults { $0.http2.targetWindowSize = Self.window })
        return try await withGRPCClient(transport: transport) { client in
            try await body(Client(wrapping: client))
        }
    }

    /// Lends where a blob can be read.
    ///
    /// - Parameter context: whose call it is for.
    func reading<Result: Sendable>(
        _ descriptor: Descriptor, _ context: ContainerdContext,
        _ body: @Sendable (any BlobSource) async throws -> Result
    ) async throws -> Result {
        if let folder, (try? folder.open(descriptor)) != nil { return try await body(folder) }
        return try await connected { client in
            try await body(RemoteBlobs(client: client, context: context))
        }
    }
}

/// For whom containerd calls: its namespace and the lease that keeps what is made. What we ask of containerd in return is
/// for the same.
struct ContainerdContext: Sendable {
    let metadata: Metadata
    /// Without a connection a call fails at once.
    let options: CallOptions

    private static let keys = ["containerd-namespace", "containerd-lease"]

    init(_ metadata: Metadata) {
        var own = Metadata()
        for key in Self.keys {
            for value in metadata[stringValues: key] { own.addString(value, forKey: key) }
        }
        self.metadata = own
        options = CallOptions.defaults.with { $0.waitForReady = false }
    }
}

extension CallOptions {
    fileprivate func with(_ change: (inout Self) -> Void) -> Self {
        var options = self
        change(&options)
        return options
    }
}
