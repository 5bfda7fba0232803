internal import ContainerdAPI
internal import GRPCCore
internal import Layout
internal import OCI
internal import Streams
internal import SwiftProtobuf

/// Blobs that are read through containerd's socket.
struct RemoteBlobs: BlobSource {
    let client: ContentStore.Client
    let context: ContainerdContext

    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob {
        VerifiedBlob(descriptor, from: RemoteBlob(descriptor, client, context))
    }
}

/// One of them, in pieces: the next are on their way while one is used.
private final class RemoteBlob: BlobStream {
    private typealias Piece = Promise<Result<[UInt8], RPCError>>

    private let descriptor: Descriptor
    private let client: ContentStore.Client
    private let context: ContainerdContext
    /// By where they begin: those that are used, and those that are coming.
    private let pieces = Guarded([Int64: Piece]())

    /// Bytes: what containerd sends in one message.
    private static let pieceSize: Int64 = 1 << 20
    /// How many are asked for ahead.
    private static let ahead: Int64 = 2

    init(_ descriptor: Descriptor, _ client: ContentStore.Client, _ context: ContainerdContext) {
        self.descriptor = descriptor
        self.client = client
        self.context = context
    }

    func read(into buffer: inout [UInt8], limit: Int, at position: Int64) throws(LayoutFailure) {
        guard position < descriptor.size else {
            buffer = []
            return
        }
        let start = position / Self.pieceSize * Self.pieceSize
        switch piece(at: start).wait() {
        case .success(let bytes): buffer = Array(bytes.dropFirst(Int(position - start)).prefix(limit))
        case .failure(let error):
            if error.code == .notFound { throw .blobMissing(descriptor.digest) }
            throw .blobUnreadable(descriptor.digest, reason: "containerd: \(error.message)")
        }
    }

    /// Asks for a piece and for those behind it, and forgets those before it.
    private func piece(at start: Int64) -> Piece {
        pieces.withLock { pieces in
            pieces = pieces.filter { $0.key >= start }
            for next in stride(
                from: start, through: start + Self.ahead * Self.pieceSize, by: Int(Self.pieceSize))
            where next < descriptor.size && pieces[next] == nil {
                pieces[next] = ask(at: next)
            }
            return pieces[start] ?? ask(at: start)
        }
    }

    private func ask(at start: Int64) -> Piece {
        let piece = Piece()
        let request = Containerd_Services_Content_V1_ReadContentRequest.with {
            $0.digest = descriptor.digest.description
            $0.offset = start
            $0.size = min(Self.pieceSize, descriptor.size - start)
        }
        Task { [client, context] in
            do {
                let bytes = try await client.read(
                    request, metadata: context.metadata, options: context.options
                ) { response in
                    var bytes = [UInt8]()
                    for try await message in response.messages { bytes += message.data }
                    return bytes
                }
                piece.fulfil(.success(bytes))
            } catch {
                piece.fulfil(.failure(RPCError(telling: error)))
            }
        }
        return piece
    }
}
