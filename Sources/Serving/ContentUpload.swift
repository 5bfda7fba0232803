internal import ContainerdAPI
internal import FoundationEssentials
internal import GRPCCore
internal import Kernel
internal import OCI
internal import SwiftProtobuf

/// The upload of a blob to containerd's content store. A thread makes the blob, and a task sends it.
final class ContentUpload: Sendable {
    private typealias Request = Containerd_Services_Content_V1_WriteContentRequest

    private let channel = RendezvousChannel<Containerd_Services_Content_V1_WriteContentRequest>()
    private let reference: String
    private let pending = Locked([UInt8]())
    private let sent = Locked<Int64>(0)

    /// Bytes of a message: as many as containerd itself sends.
    private static let pieceSize = 1 << 20

    /// The label by which containerd finds the diff ID of a blob.
    private static let uncompressed = "containerd.io/uncompressed"

    /// - Parameter reference: identifies the upload until it is committed. Data of an earlier, uncommitted upload with
    ///   the same reference is overwritten.
    init(_ reference: String) { self.reference = reference }

    // MARK: On the thread that makes the blob

    /// - Throws: `Cancelled` if the upload has ended.
    func write(_ bytes: RawSpan) throws(Cancelled) {
        let piece = pending.withLock { pending -> [UInt8]? in
            pending.append(bytes)
            guard pending.count >= Self.pieceSize else { return nil }
            defer { pending = [] }
            return pending
        }
        if let piece { try send(piece) }
    }

    private func send(
        _ piece: [UInt8],
        _ change: (inout Containerd_Services_Content_V1_WriteContentRequest) -> Void = { _ in }
    ) throws(Cancelled) {
        let offset = sent.withLock { sent in
            defer { sent += Int64(piece.count) }
            return sent
        }
        try channel.send(
            .with {
                $0.action = .write
                $0.ref = reference
                $0.offset = offset
                $0.data = Data(piece)
                change(&$0)
            })
    }

    /// Sends the rest of the blob and commits it: containerd compares its size and digest.
    func commit(_ layer: WrittenLayer, labels: [String: String]) throws(Cancelled) {
        let rest = pending.withLock { $0 }
        try send(rest) {
            $0.action = .commit
            $0.total = layer.descriptor.size
            $0.expected = layer.descriptor.digest.description
            $0.labels = labels.merging([Self.uncompressed: layer.content.diffID.description]) { $1 }
        }
    }

    /// Ends the stream of messages, whether the blob was committed or not.
    func end() { channel.finish() }

    // MARK: In the task that sends the blob

    /// Runs `make` and sends what it writes. If the content store already has the blob, that counts as success.
    func run(
        _ client: ContentStore.Client, _ context: ContainerdContext,
        _ make: @Sendable @escaping () async throws -> WrittenLayer
    ) async throws -> WrittenLayer {
        async let making = outcome(make)
        var refusal: RPCError?
        do {
            try await transfer(client, context)
        } catch {
            refusal = RPCError(describing: error)
        }
        switch (await making, refusal) {
        case (.success(let layer), nil): return layer
        case (.success(let layer), .some(let refusal)) where refusal.code == .alreadyExists:
            try await setDiffIDLabel(layer, client, context)
            return layer
        case (.success, .some(let refusal)):
            await abort(client, context)
            throw refusal
        case (.failure(let error), let refusal):
            await abort(client, context)
            let failure = RPCError(describing: error)
            // The content store also refuses an upload that ends early: then the error of `make` is the cause. If
            // `make` was cancelled, the refusal came first.
            throw failure.code == .cancelled ? refusal ?? failure : failure
        }
    }

    private func outcome(
        _ make: @Sendable () async throws -> WrittenLayer
    ) async -> Result<WrittenLayer, any Error> {
        do {
            return .success(try await make())
        } catch {
            return .failure(error)
        }
    }

    /// Returns when the blob is committed, or `end` was called. An error makes `write` throw in the thread that makes
    /// the blob.
    private func transfer(_ client: ContentStore.Client, _ context: ContainerdContext) async throws {
        defer { channel.close() }
        let channel = channel
        try await client.write(metadata: context.metadata, options: context.options) { writer in
            try await channel.forEach { try await writer.write($0) }
        } onResponse: { response in
            for try await _ in response.messages {}
        }
    }

    /// Removes an incomplete blob from the content store.
    private func abort(_ client: ContentStore.Client, _ context: ContainerdContext) async {
        _ = try? await client.abort(
            .with { $0.ref = reference }, metadata: context.metadata, options: context.options)
    }

    /// Adds the diff ID to a blob that was in the content store before.
    private func setDiffIDLabel(
        _ layer: WrittenLayer, _ client: ContentStore.Client, _ context: ContainerdContext
    ) async throws {
        _ = try await client.update(
            .with {
                $0.info.digest = layer.descriptor.digest.description
                $0.info.labels = [Self.uncompressed: layer.content.diffID.description]
                $0.updateMask.paths = ["labels.\(Self.uncompressed)"]
            }, metadata: context.metadata, options: context.options)
    }
}
