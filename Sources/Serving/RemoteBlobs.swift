internal import ContainerdAPI
internal import GRPCCore
internal import Kernel
internal import Layout
internal import OCI
internal import Streams
internal import SwiftProtobuf

/// Reads blobs through containerd's socket.
struct RemoteBlobs: BlobSource {
    let client: ContentStore.Client
    let context: ContainerdContext

    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob {
        VerifiedBlob(descriptor, from: RemoteBlob(descriptor, client, context))
    }
}

/// A blob that is read in pieces, ahead of its reader.
private final class RemoteBlob: BlobStream {
    private typealias Piece = Promise<Result<[UInt8], RPCError>>

    private let descriptor: Descriptor
    private let client: ContentStore.Client
    private let context: ContainerdContext
    /// Pieces by their offset: those in use, and those that were requested.
    private let pieces = Locked([Int64: Piece]())

    /// Bytes that containerd sends in one message.
    private static let pieceSize: Int64 = 1 << 20
    /// The number of pieces to request ahead.
    private static let readAhead: Int64 = 2

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

    /// Returns a piece. Requests it and the following ones if necessary, and drops the preceding ones.
    private func piece(at start: Int64) -> Piece {
        pieces.withLock { pieces in
            pieces = pieces.filter { $0.key >= start }
            for next in stride(
                from: start, through: start + Self.readAhead * Self.pieceSize, by: Int(Self.pieceSize))
            where next < descriptor.size && pieces[next] == nil {
                pieces[next] = request(at: next)
            }
            return pieces[start] ?? request(at: start)
        }
    }

    private func request(at start: Int64) -> Piece {
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
                piece.fulfil(.failure(RPCError(describing: error)))
            }
        }
        return piece
    }
}
