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
        if let key = request.writableKey { try check(key: key) }
        let (layout, candidate, image) = try request.open(cancellation, onEvent)
        logger.debug("selected \(candidate.descriptor.digest), \(image.steps.count) layers")
        guard Process.effectiveUserID == 0 else {
            throw UnpackError(
                .permission, "unpacking sets owners and makes devices, which needs root",
                hint: "run it with sudo")
        }
        let top = try image.topChain()
        let store = try openStore(request.root, snapshotter: request.snapshotter)
        for ancestor in request.root.exposedAncestors() {
            logger.debug("other users can rename entries of '\(escaped(ancestor))', including the store")
        }
        let record = record(of: image, candidate, top)
        let plan = Plan(
            image: image, candidate: candidate, top: top, record: record, layout: layout, store: store)
        // The record of an image keeps its chain from being removed: no run has to be started for that.
        if request.writableKey == nil,
            try attempt({ try store.has(record, synced: request.durability == .fs) }),
            let result = try describe(plan, cached: Set(image.steps.map(\.chainID)))
        {
            onEvent(.planned(image.steps, cached: Set(image.steps.map(\.chainID))))
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
        let store = plan.store
        var layers = [(step: LayerStep, snapshot: SnapshotInfo)]()
        for step in plan.image.steps {
            guard let snapshot = try attempt({ try store.verified(step.chainID) }) else { return nil }
            layers.append((step, snapshot))
        }
        guard let name = layers.last?.snapshot.name else { return nil }
        let mounts: [Mount]
        do throws(UnpackError) {
            mounts =
                if let key = request.writableKey {
                    try writableMounts(key, on: name, store)
                } else {
                    try attempt { try store.readOnlyMounts(of: name) }
                }
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
        return UnpackResult(
            image: plan.image, reference: plan.candidate.name,
            platform: plan.record.platform, chainID: plan.top, mounts: mounts,
            layers: layers.map { step, snapshot in
                UnpackResult.Layer(
                    step: step, path: store.path(of: snapshot), isCached: cached.contains(step.chainID))
            }, warnings: warnings)
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
        try attempt { try store.record(plan.record, sync: request.durability == .fs) }
        return (cached, warnings)
    }

    private func record(of image: Image, _ candidate: Candidate, _ top: ChainID) -> ImageRecord {
        ImageRecord(
            reference: candidate.name, manifest: image.descriptor.digest,
            mediaType: image.descriptor.mediaType,
            platform: image.config.platform.completed(by: candidate.platform), topChain: top,
            layers: image.steps.map(ImageRecord.Layer.init))
    }

    /// The mounts of the user's active snapshot on the image, which is created if it is missing. Waits while another
    /// process creates it.
    private func writableMounts(
        _ key: String, on parent: String, _ store: SnapshotStore
    ) throws(UnpackError) -> [Mount] {
        while true {
            if let mounts = try finishedMounts(key, on: parent, store) { return mounts }
            try check()
            Process.sleep(milliseconds: 50)
            // If the process that was creating it has ended, this removes the unfinished snapshot.
            _ = try attempt { try store.startRun() }
        }
    }

    /// - Returns: nil while another process creates the snapshot.
    private func finishedMounts(
        _ key: String, on parent: String, _ store: SnapshotStore
    ) throws(UnpackError) -> [Mount]? {
        guard let found = try attempt({ try store.find(key) }) else {
            do throws(StoreFailure) {
                return try store.prepare(key, parent: parent, in: try store.startRun())
            } catch {
                if error.kind == .alreadyExists { return nil }
                throw UnpackError(error)
            }
        }
        guard found.kind == .active, found.parent == parent else {
            throw UnpackError(
                .usage,
                "the snapshot '\(key)' is \(found.kind.rawValue) on \(found.parent ?? "nothing"), not active on \(parent)",
                hint:
                    "choose another one with --rw KEY, or remove it: unpack snapshot rm \(ShellWord(quoting: key, orElse: "KEY").text)"
            )
        }
        do throws(StoreFailure) {
            return try store.mounts(of: key)
        } catch {
            if error.kind == .unavailable { return nil }
            throw UnpackError(error)
        }
    }

    /// Checks a key of the user, which appears in mount lines, and must differ from options, chain IDs and the keys of
    /// the unpacker (`unpack/…`).
    private func check(key: String) throws(UnpackError) {
        guard MountLine.isPlainValue(key), !key.hasPrefix("-"), !key.contains("/"),
            (try? Digest(parsing: key)) == nil
        else {
            throw UnpackError(
                .usage, "'\(escaped(key.utf8))' is not a valid key of a snapshot",
                hint: "use letters, digits and . _ - + @")
        }
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
package func openStore(_ root: FilePath, snapshotter: String) throws(UnpackError) -> SnapshotStore {
    let boot = try bootID()
    return try attempt {
        try SnapshotStore(
            opening: root, snapshotter: snapshotter, boot: boot,
            clock: Process.nanosecondsSinceEpoch)
    }
}
