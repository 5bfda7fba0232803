package import ContainerdAPI
package import GRPCCore
internal import Kernel
internal import Layers
internal import Mounts
internal import OCI
internal import Streams
internal import SwiftProtobuf
internal import Unpacking

/// `containerd.services.diff.v1.Diff`: our pipeline applies containerd's layers, and makes them.
package struct DiffService: Containerd_Services_Diff_V1_Diff.ServiceProtocol {
    private let content: ContentStore
    private let calls: Calls
    private let isSynced: Bool
    private let differ = Differ()

    /// - Parameter isSynced: whether every layer is on the disk when it is said to be applied. A client can ask for that by
    ///   itself, too (containerd ≥ 1.7).
    package init(_ content: ContentStore, isSynced: Bool, _ calls: Calls) {
        self.content = content
        self.isSynced = isSynced
        self.calls = calls
    }

    package func apply(
        request: ServerRequest<Containerd_Services_Diff_V1_ApplyRequest>, context: ServerContext
    ) async throws -> ServerResponse<Containerd_Services_Diff_V1_ApplyResponse> {
        let message = request.message
        let mounts = message.mounts.map(ForeignMount.init)
        let isSynced = self.isSynced || message.syncFs
        let call = Call(method: "Apply", isChange: true, digest: message.diff.digest)
        let applied = try await calls.cancellable { cancellation in
            let descriptor = try Descriptor(message.diff)
            return try await content.reading(descriptor, ContainerdContext(request.metadata)) { blobs in
                try await calls.run(call) {
                    try differ.apply(
                        descriptor, from: blobs, onto: mounts, isSynced: isSynced, cancellation: cancellation)
                }
            }
        }
        return ServerResponse(
            message: .with {
                $0.applied.mediaType = MediaType.ociLayer.rawValue
                $0.applied.digest = applied.content.diffID.description
                $0.applied.size = applied.content.size
            })
    }

    package func diff(
        request: ServerRequest<Containerd_Services_Diff_V1_DiffRequest>, context: ServerContext
    ) async throws -> ServerResponse<Containerd_Services_Diff_V1_DiffResponse> {
        throw RPCError(code: .unimplemented, message: "not here")
    }
}
