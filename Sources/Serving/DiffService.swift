package import ContainerdAPI
package import GRPCCore
internal import Kernel
internal import Mounts
internal import OCI
package import Snapshots
internal import SwiftProtobuf
internal import Unpacking

/// `containerd.services.diff.v1.Diff`: applies and makes containerd's layers with this program's pipeline.
package struct DiffService: Containerd_Services_Diff_V1_Diff.ServiceProtocol {
    private let content: ContentStore
    private let calls: CallRunner
    private let isSynced: Bool
    private let differ: Differ

    /// - Parameters:
    ///   - stores: the stores that clients must not write to, apart from their own active snapshots.
    ///   - isSynced: whether every layer is synced to the disk before `Apply` returns. A client may also ask for that
    ///     in its request (containerd ≥ 1.7).
    package init(
        _ content: ContentStore, protecting stores: [SnapshotStore], isSynced: Bool, _ calls: CallRunner
    ) {
        self.content = content
        differ = Differ(protecting: stores)
        self.isSynced = isSynced
        self.calls = calls
    }

    package func apply(
        request: ServerRequest<Containerd_Services_Diff_V1_ApplyRequest>, context: ServerContext
    ) async throws -> ServerResponse<Containerd_Services_Diff_V1_ApplyResponse> {
        let message = request.message
        let mounts = message.mounts.map(ContainerdMount.init)
        let isSynced = self.isSynced || message.syncFs
        let call = Call(method: "Apply", isChange: true, digest: message.diff.digest)
        let applied = try await calls.answer(call) { _ in
            let descriptor = try Descriptor(message.diff)
            return try await calls.withCancellation { cancellation in
                try await content.withBlobSource(descriptor, ContainerdContext(request.metadata)) { blobs in
                    try await calls.runLayer {
                        try differ.apply(
                            descriptor, from: blobs, onto: mounts, isSynced: isSynced,
                            cancellation: cancellation)
                    }
                }
            }
        }
        return ServerResponse(
            message: .with {
                $0.applied.mediaType = MediaType.ociLayer.rawValue
                $0.applied.digest = applied.diffID.description
                $0.applied.size = applied.size
            })
    }

    package func diff(
        request: ServerRequest<Containerd_Services_Diff_V1_DiffRequest>, context: ServerContext
    ) async throws -> ServerResponse<Containerd_Services_Diff_V1_DiffResponse> {
        let message = request.message
        let containerd = ContainerdContext(request.metadata)
        let upload = ContentUpload(message.ref.isEmpty ? Self.newReference() : message.ref)
        let layer = try await calls.answer(Call(method: "Diff", isChange: true)) { call in
            let layer = try await calls.withCancellation { cancellation in
                try await content.withConnection { connection in
                    let context = try await containerd.withLease(connection)
                    return try await upload.run(ContentStore.Client(wrapping: connection), context) {
                        try await make(message, into: upload, cancellation)
                    }
                }
            }
            call.digest = layer.descriptor.digest.description
            return layer
        }
        return ServerResponse(
            message: .with {
                $0.diff.mediaType = layer.descriptor.mediaType.rawValue
                $0.diff.digest = layer.descriptor.digest.description
                $0.diff.size = layer.descriptor.size
            })
    }

    private func make(
        _ request: Containerd_Services_Diff_V1_DiffRequest, into upload: ContentUpload,
        _ cancellation: Cancellation
    ) async throws -> WrittenLayer {
        let (left, right) = (request.left.map(ContainerdMount.init), request.right.map(ContainerdMount.init))
        let mediaType = request.mediaType.isEmpty ? .ociLayerGzip : MediaType(rawValue: request.mediaType)
        let latest = request.hasSourceDateEpoch ? Timestamp(request.sourceDateEpoch) : nil
        defer { upload.end() }
        return try await calls.runLayer {
            let layer = try differ.makeLayer(
                from: left, to: right, as: mediaType, latest: latest, cancellation: cancellation
            ) { try upload.write($0) }
            try upload.commit(layer, labels: request.labels)
            return layer
        }
    }

    /// Returns a reference that no other upload uses.
    private static func newReference() -> String { "unpack-diff-\(UInt64.random(in: .min ... .max))" }
}
