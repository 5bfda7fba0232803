package import Kernel
internal import Layers
internal import Layout
package import Logging
internal import Mounts
internal import OCI
package import Snapshots
package import SystemPackage

/// Unpacks an image on disk to verified snapshots and their mounts: all stages of `docs/architecture.md`, in order.
package struct Unpacker: Sendable {
    let request: UnpackRequest
    let cancellation: Cancellation
    let logger: Logger
    let onEvent: @Sendable (UnpackEvent) -> Void

    package init(
        _ request: UnpackRequest, cancellation: Cancellation, logger: Logger,
        onEvent: @escaping @Sendable (UnpackEvent) -> Void
    ) {
        self.request = request
        self.cancellation = cancellation
        self.logger = logger
        self.onEvent = onEvent
    }

    package func run() throws(UnpackError) -> UnpackResult {
        try ImageMounts.check(key: request.writableKey)
        let (layout, candidate, image) = try request.open(cancellation, onEvent)
        logger.debug("selected \(candidate.descriptor.digest), \(image.steps.count) layers")
        try requireRoot()
        let top = try image.topChain()
        let store = try openStore(request.root, snapshotter: request.snapshotter, request.backend)
        for ancestor in request.root.exposedAncestors() {
            logger.debug("other users can rename entries of '\(escaped(ancestor))', including the store")
        }
        let record = record(of: image, candidate, top)
        let plan = Plan(
            image: image, candidate: candidate, top: top, record: record, layout: layout, store: store)
        // The record of an image keeps its chain from being removed: no run has to be started for that.
        if request.writableKey == nil,
            try attempt({ try store.has(record, synced: request.durability == .fs) }),
            let result = try describe(plan, cached: image.chains)
        {
            store.noteUse(of: record.manifest)
            onEvent(.planned(image.steps, cached: image.chains))
            try attempt { try layout.finish() }
            return result
        }
        let run = try attempt { try store.startRun() }
        // Held until the result is complete: another process may remove the image as soon as it is recorded.
        defer { try? store.release(run) }
        let (cached, warnings) = try complete(plan, in: run)
        guard let result = try describe(plan, cached: cached, warnings: warnings) else {
            throw UnpackError(.internal, "the unpacked chain \(top) is not in the store")
        }
        try attempt { try layout.finish() }
        return result
    }

    private struct Plan {
        let image: Image
        let candidate: Candidate
        let top: ChainID
        let record: ImageRecord
        let layout: ImageLayout
        let store: SnapshotStore
    }

    /// Stage 13: the result with the mounts.
    ///
    /// - Returns: nil if a layer is missing from the store, or was removed meanwhile.
    private func describe(
        _ plan: Plan, cached: Set<ChainID>, warnings: [String] = []
    ) throws(UnpackError) -> UnpackResult? {
        let mounts = ImageMounts(
            store: plan.store, writableKey: request.writableKey, bundle: request.bundle, check: check)
        return try mounts.result(
            of: plan.image, named: plan.candidate.name, platform: plan.record.platform, cached: cached,
            warnings: warnings)
    }

    /// Stages 5 to 12: protects the layers in the store from being removed, unpacks the missing ones, and records the
    /// image.
    ///
    /// - Returns: the chains that were in the store, and the warnings.
    private func complete(
        _ plan: Plan, in run: Run
    ) throws(UnpackError) -> (cached: Set<ChainID>, warnings: [String]) {
        let (image, store) = (plan.image, plan.store)
        let held = try attempt { try store.protect(image.steps.map(\.chainID), in: run) }
        let cached = Set(held.keys)
        onEvent(.planned(image.steps, cached: cached))
        var warnings = [String]()
        let missing = image.steps.filter { !cached.contains($0.chainID) }
        if !missing.isEmpty {
            let unpacking = LayerUnpacking(
                unpacker: self, layout: plan.layout, store: store, run: run, held: held)
            warnings = try unpacking.unpack(missing)
        }
        if request.durability == .fs { onEvent(.syncing) }
        let documents = ImageRecord.Documents(
            manifest: String(decoding: image.documents.manifest, as: UTF8.self),
            config: String(decoding: image.documents.config, as: UTF8.self))
        try attempt { try store.record(plan.record, documents, sync: request.durability == .fs) }
        return (cached, warnings)
    }

    private func record(of image: Image, _ candidate: Candidate, _ top: ChainID) -> ImageRecord {
        ImageRecord(
            names: candidate.name.map { [$0] } ?? [], manifest: image.descriptor.digest,
            mediaType: image.descriptor.mediaType,
            platform: image.config.platform.completed(by: candidate.platform), topChain: top,
            layers: image.steps.map(ImageRecord.Layer.init))
    }

    func check() throws(UnpackError) { try attempt { try cancellation.check() } }
}

/// The ID of the current boot (random(4), `boot_id`).
///
/// - Throws: `.unavailable` if /proc does not contain it.
package func bootID() throws(UnpackError) -> String {
    do {
        return try Process.bootID()
    } catch {
        throw UnpackError(.unavailable, "\(error)", hint: "mount all of /proc, without subset=pid")
    }
}

/// Opens the store in `root` with the ID of the current boot and the system's clock.
package func openStore(
    _ root: FilePath, snapshotter: String, _ settings: BackendSettings = BackendSettings()
) throws(UnpackError) -> SnapshotStore {
    let boot = try bootID()
    return try attempt {
        try SnapshotStore(
            opening: root, snapshotter: snapshotter, boot: boot, settings: settings,
            clock: Process.nanosecondsSinceEpoch)
    }
}
