package import ContainerdAPI
package import GRPCCore
internal import Kernel
package import Snapshots
package import SwiftProtobuf

private typealias API = Containerd_Services_Snapshots_V1_Snapshots

/// `containerd.services.snapshots.v1.Snapshots` for several stores. The field `snapshotter` of a request selects the
/// store.
package struct SnapshotsService: Containerd_Services_Snapshots_V1_Snapshots.SimpleServiceProtocol {
    private let stores: [String: ServiceSnapshots]
    private let calls: CallRunner
    private let isSynced: Bool

    /// The limit of snapshots in a message of `List`, as in containerd's own service.
    private static let batch = 100
    /// The limit of bytes of names and labels in a message of `List`. Go's gRPC takes 4 MiB by default, containerd
    /// 16 MiB.
    private static let batchSize = 2 << 20

    /// - Parameters:
    ///   - stores: the stores by the snapshotter names that clients use.
    ///   - isSynced: whether a snapshot is synced to the disk soon after its commit.
    package init(_ stores: [String: ServiceSnapshots], isSynced: Bool, _ calls: CallRunner) {
        self.stores = stores
        self.calls = calls
        self.isSynced = isSynced
    }

    /// Schedules the background work that a previous server has left.
    ///
    /// - Returns: by snapshotter, the snapshots that were not synced to the disk before the machine stopped.
    package func resume() throws(StoreFailure) -> [(snapshotter: String, snapshots: [String])] {
        var suspects = [(snapshotter: String, snapshots: [String])]()
        for (name, store) in stores.sorted(by: { $0.key < $1.key }) {
            let pending = try store.pendingSnapshots()
            for key in pending.new { makeDurable(key, of: store, name) }
            collectTrash(store, name)
            if !pending.suspect.isEmpty { suspects.append((name, pending.suspect)) }
        }
        return suspects
    }

    private func makeDurable(_ key: String, of store: ServiceSnapshots, _ snapshotter: String) {
        let call = Call(method: "make-durable", isChange: false, snapshotter: snapshotter, name: key)
        calls.runInBackground(call) { [isSynced] in try store.completeCommit(of: key, isSynced: isSynced) }
    }

    private func collectTrash(_ store: ServiceSnapshots, _ snapshotter: String) {
        let call = Call(method: "collect-trash", isChange: false, snapshotter: snapshotter)
        calls.runInBackground(call) { try store.emptyTrash() }
    }

    /// - Parameter snapshotter: selects the store, on which `body` works.
    private func run<Value: Sendable>(
        _ call: Call, on snapshotter: String,
        _ body: @escaping @Sendable (ServiceSnapshots, Cancellation) throws -> Value
    ) async throws -> Value {
        try await calls.run(call) { try body(try store(snapshotter), $0) }
    }

    private func store(_ name: String) throws(StoreFailure) -> ServiceSnapshots {
        if let store = stores[name] { return store }
        throw StoreFailure(
            .invalidArgument,
            "there is no snapshotter '\(escaped(name.utf8))' here, only "
                + stores.keys.sorted().joined(separator: ", ")
        )
    }

    // MARK: Changing

    package func prepare(
        request: Containerd_Services_Snapshots_V1_PrepareSnapshotRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_PrepareSnapshotResponse {
        let call = Call(
            method: "Prepare", isChange: true, snapshotter: request.snapshotter, key: request.key,
            parent: request.parent.nonEmpty)
        let mounts = try await run(call, on: request.snapshotter) { store, cancellation in
            try store.prepare(
                request.key, parent: request.parent.nonEmpty, labels: request.labels,
                shouldContinue: { !cancellation.isCancelled })
        }
        return .with { $0.mounts = mounts.map(Containerd_Types_Mount.init) }
    }

    package func view(
        request: Containerd_Services_Snapshots_V1_ViewSnapshotRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_ViewSnapshotResponse {
        let call = Call(
            method: "View", isChange: true, snapshotter: request.snapshotter, key: request.key,
            parent: request.parent.nonEmpty)
        let mounts = try await run(call, on: request.snapshotter) { store, cancellation in
            try store.view(
                request.key, parent: request.parent.nonEmpty, labels: request.labels,
                shouldContinue: { !cancellation.isCancelled })
        }
        return .with { $0.mounts = mounts.map(Containerd_Types_Mount.init) }
    }

    /// containerd holds the write lock of its database during this call: slow work is left to the background.
    package func commit(
        request: Containerd_Services_Snapshots_V1_CommitSnapshotRequest, context: ServerContext
    ) async throws -> Google_Protobuf_Empty {
        let call = Call(
            method: "Commit", isChange: true, snapshotter: request.snapshotter, key: request.key,
            name: request.name, parent: request.parent.nonEmpty)
        let store = try await run(call, on: request.snapshotter) { store, _ in
            try store.commit(
                request.key, as: request.name, onto: request.parent.nonEmpty, labels: request.labels)
            return store
        }
        makeDurable(request.name, of: store, request.snapshotter)
        return Google_Protobuf_Empty()
    }

    package func remove(
        request: Containerd_Services_Snapshots_V1_RemoveSnapshotRequest, context: ServerContext
    ) async throws -> Google_Protobuf_Empty {
        let call = Call(
            method: "Remove", isChange: true, snapshotter: request.snapshotter, key: request.key)
        let store = try await run(call, on: request.snapshotter) { store, _ in
            try store.remove(request.key, .started)
            return store
        }
        collectTrash(store, request.snapshotter)
        return Google_Protobuf_Empty()
    }

    package func cleanup(
        request: Containerd_Services_Snapshots_V1_CleanupRequest, context: ServerContext
    ) async throws -> Google_Protobuf_Empty {
        let call = Call(method: "Cleanup", isChange: true, snapshotter: request.snapshotter)
        try await run(call, on: request.snapshotter) { store, _ in try store.cleanup() }
        return Google_Protobuf_Empty()
    }

    package func update(
        request: Containerd_Services_Snapshots_V1_UpdateSnapshotRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_UpdateSnapshotResponse {
        let call = Call(
            method: "Update", isChange: true, snapshotter: request.snapshotter, key: request.info.name)
        let info = try await run(call, on: request.snapshotter) { store, _ in
            try store.update(
                request.info.name, labels: request.info.labels, fields: request.updateMask.paths)
        }
        return .with { $0.info = .init(info) }
    }

    // MARK: Reading

    package func stat(
        request: Containerd_Services_Snapshots_V1_StatSnapshotRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_StatSnapshotResponse {
        let call = Call(
            method: "Stat", isChange: false, snapshotter: request.snapshotter, key: request.key)
        let info = try await run(call, on: request.snapshotter) { store, _ in try store.stat(request.key) }
        return .with { $0.info = .init(info) }
    }

    package func mounts(
        request: Containerd_Services_Snapshots_V1_MountsRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_MountsResponse {
        let call = Call(
            method: "Mounts", isChange: false, snapshotter: request.snapshotter, key: request.key)
        let mounts = try await run(call, on: request.snapshotter) { store, _ in
            try store.mounts(of: request.key)
        }
        return .with { $0.mounts = mounts.map(Containerd_Types_Mount.init) }
    }

    package func usage(
        request: Containerd_Services_Snapshots_V1_UsageRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_UsageResponse {
        let call = Call(
            method: "Usage", isChange: false, snapshotter: request.snapshotter, key: request.key)
        let usage = try await run(call, on: request.snapshotter) { store, _ in
            try store.usage(of: request.key)
        }
        return .with {
            $0.size = usage.size
            $0.inodes = usage.inodes
        }
    }

    package func list(
        request: Containerd_Services_Snapshots_V1_ListSnapshotsRequest,
        response: RPCWriter<Containerd_Services_Snapshots_V1_ListSnapshotsResponse>, context: ServerContext
    ) async throws {
        let call = Call(method: "List", isChange: false, snapshotter: request.snapshotter)
        let infos = try await run(call, on: request.snapshotter) { store, _ in
            try store.list(try SnapshotFilter.parse(request.filters))
        }
        var rest = infos[...]
        while !rest.isEmpty {
            var size = 0
            let batch = rest.prefix(Self.batch).prefix { info in
                size += info.textSize
                return size <= Self.batchSize
            }
            // A snapshot that exceeds the limit alone gets a message of its own.
            let count = max(batch.count, 1)
            let message = rest.prefix(count).map(Containerd_Services_Snapshots_V1_Info.init)
            try await response.write(.with { $0.info = message })
            rest = rest.dropFirst(count)
        }
    }
}

extension SnapshotInfo {
    /// Bytes of names and labels.
    fileprivate var textSize: Int {
        labels.reduce(name.utf8.count + (parent?.utf8.count ?? 0)) {
            $0 + $1.key.utf8.count + $1.value.utf8.count
        }
    }
}

extension String {
    /// Nil for a field that the message omits.
    fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}
