internal import ContainerdAPI
internal import FoundationEssentials
internal import GRPCCore
internal import Kernel
internal import Layers
internal import OCI
internal import Streams
internal import SwiftProtobuf

/// A blob on its way into containerd's content store: one thread makes it, a task brings it there.
final class ContentUpload: Sendable {
    private typealias Request = Containerd_Services_Content_V1_WriteContentRequest

    private let conveyor = Conveyor<Containerd_Services_Content_V1_WriteContentRequest>()
    private let reference: String
    private let pending = Guarded([UInt8]())
    private let sent = Guarded<Int64>(0)

    /// Bytes of a message: as many as containerd itself sends.
    private static let pieceSize = 1 << 20

    /// What containerd knows the diff ID of a blob by.
    private static let uncompressed = "containerd.io/uncompressed"

    /// - Parameter reference: what containerd calls the writing until it is done; what was written under it before is
    ///   written over.
    init(_ reference: String) { self.reference = reference }

    // MARK: On the thread that makes the blob

    /// - Throws: `Cancelled` if nobody takes it any more.
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
        try conveyor.send(
            .with {
                $0.action = .write
                $0.ref = reference
                $0.offset = offset
                $0.data = Data(piece)
                change(&$0)
            })
    }

    /// Says what it has become, for the store to check and to keep.
    func commit(_ layer: MadeLayer, labels: [String: String]) throws(Cancelled) {
        let rest = pending.withLock { $0 }
        try send(rest) {
            $0.action = .commit
            $0.total = layer.descriptor.size
            $0.expected = layer.descriptor.digest.description
            $0.labels = labels.merging([Self.uncompressed: layer.content.diffID.description]) { $1 }
        }
    }

    /// Nothing more comes, whether it was committed or not.
    func end() { conveyor.finish() }

    // MARK: In the task that brings it

    /// Brings what `make` makes. A blob that the store has already is as good.
    func bring(
        _ client: ContentStore.Client, _ context: ContainerdContext,
        _ make: @Sendable @escaping () async throws -> MadeLayer
    ) async throws -> MadeLayer {
        async let making = outcome(make)
        var refusal: RPCError?
        do {
            try await transfer(client, context)
        } catch {
            refusal = RPCError(telling: error)
        }
        switch (await making, refusal) {
        case (.success(let layer), nil): return layer
        case (.success(let layer), .some(let refusal)) where refusal.code == .alreadyExists:
            try await label(layer, client, context)
            return layer
        case (.success, .some(let refusal)):
            await abort(client, context)
            throw refusal
        case (.failure(let error), let refusal):
            await abort(client, context)
            let failure = RPCError(telling: error)
            // The store refuses an upload that ends early. Only an upload that it has refused first cancels the maker.
            throw failure.code == .cancelled ? refusal ?? failure : failure
        }
    }

    private func outcome(
        _ make: @Sendable () async throws -> MadeLayer
    ) async -> Result<MadeLayer, any Error> {
        do {
            return .success(try await make())
        } catch {
            return .failure(error)
        }
    }

    /// Returns when the blob is in the store, or nothing more comes. Whoever makes it learns when this has failed.
    private func transfer(_ client: ContentStore.Client, _ context: ContainerdContext) async throws {
        defer { conveyor.close() }
        let conveyor = conveyor
        try await client.write(metadata: context.metadata, options: context.options) { writer in
            try await conveyor.forEach { try await writer.write($0) }
        } onResponse: { response in
            for try await _ in response.messages {}
        }
    }

    /// Makes sure that the store does not keep what is not whole.
    private func abort(_ client: ContentStore.Client, _ context: ContainerdContext) async {
        _ = try? await client.abort(
            .with { $0.ref = reference }, metadata: context.metadata, options: context.options)
    }

    /// Of a blob that the store had already: that it is known by what it holds.
    private func label(
        _ layer: MadeLayer, _ client: ContentStore.Client, _ context: ContainerdContext
    ) async throws {
        _ = try await client.update(
            .with {
                $0.info.digest = layer.descriptor.digest.description
                $0.info.labels = [Self.uncompressed: layer.content.diffID.description]
                $0.updateMask.paths = ["labels.\(Self.uncompressed)"]
            }, metadata: context.metadata, options: context.options)
    }
}
