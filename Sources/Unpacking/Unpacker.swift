internal import Kernel
internal import Layers
internal import Layout
package import Logging
internal import Mounts
internal import OCI
package import Snapshots
package import Streams
package import SystemPackage

/// The main job: from an image on disk to verified snapshots and a mount, through every doorway in its order.
package struct Unpacker: Sendable {
    private let request: UnpackRequest
    private let cancellation: Cancellation
    private let logger: Logger
    private let onEvent: @Sendable (UnpackEvent) -> Void

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
        let (layout, candidate, image) = try read()
        guard Process.effectiveUserID == 0 else {
            throw UnpackError(
                .permission, "unpacking sets owners and makes devices, which needs root",
                hint: "run it with sudo")
        }
        guard let top = image.steps.last?.chainID else {
            throw UnpackError(.internal, "an image without layers")
        }
        let store = try openStore(request.root, snapshotter: request.snapshotter)
        let record = record(of: image, candidate, top)
        let plan = Plan(image: image, candidate: candidate, top: top, record: record)
        // An image that is recorded keeps its chain by itself: nothing has to be written.
        if request.writableKey == nil,
            try attempt({ try store.has(record, synced: request.durability == .fs) }),
            let result = try describe(plan, in: store, cached: Set(image.steps.map(\.chainID)))
        {
            onEvent(.planned(image.steps, cached: Set(image.steps.map(\.chainID))))
            return result
        }
        let run = try attempt { try store.startRun() }
        // Until all is told: somebody may remove the image as soon as it is recorded.
        defer { try? store.release(run) }
        let (cached, warnings) = try complete(image, record, of: layout, in: store, run)
        guard let result = try describe(plan, in: store, cached: cached, warnings: warnings) else {
            throw UnpackError(.internal, "the unpacked chain \(top) is not in the store")
        }
        return result
    }

    private struct Plan {
        let image: Image
        let candidate: Candidate
        let top: ChainID
        let record: ImageRecord
    }

    /// Door 13.
    ///
    /// - Returns: nil if a layer is not there, or not any more.
    private func describe(
        _ plan: Plan, in store: SnapshotStore, cached: Set<ChainID>, warnings: [String] = []
    ) throws(UnpackError) -> UnpackResult? {
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
                    try writableMounts(key, on: name, in: store)
                } else {
                    try attempt { try store.readOnlyMounts(of: name) }
                }
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
        return UnpackResult(
            image: plan.image, reference: plan.candidate.references.first ?? request.selector.reference,
            platform: plan.image.config.platform, chainID: plan.top, mounts: mounts,
            layers: layers.map { step, snapshot in
                UnpackResult.Layer(
                    step: step, path: store.path(of: snapshot), isCached: cached.contains(step.chainID))
            }, warnings: warnings)
    }

    /// Doors 1 to 4: layout, selection, manifest and config, plan.
    private func read() throws(UnpackError) -> (ImageLayout, Candidate, Image) {
        try attempt {
            let layout = try ImageLayout(opening: request.image)
            let candidate = try layout.select(request.selector)
            let image = try layout.load(candidate.descriptor)
            logger.debug("selected \(candidate.descriptor.digest), \(image.steps.count) layers")
            return (layout, candidate, image)
        }
    }

    /// Doors 5 to 12: what is there already is kept from whoever prunes, what is not is unpacked, and the image recorded.
    ///
    /// - Returns: the chains that were there, and what was said.
    private func complete(
        _ image: Image, _ record: ImageRecord, of layout: ImageLayout, in store: SnapshotStore, _ run: Run
    ) throws(UnpackError) -> (cached: Set<ChainID>, warnings: [String]) {
        let cached = Set(try attempt { try store.hold(image.steps.map(\.chainID), in: run) }.keys)
        onEvent(.planned(image.steps, cached: cached))
        var warnings = [String]()
        let missing = image.steps.filter { !cached.contains($0.chainID) }
        if !missing.isEmpty { warnings = try unpack(missing, of: layout, in: store, run) }
        if request.durability == .fs { onEvent(.syncing) }
        try attempt { try store.settle(record, sync: request.durability == .fs) }
        return (cached, warnings)
    }

    private func record(of image: Image, _ candidate: Candidate, _ top: ChainID) -> ImageRecord {
        ImageRecord(
            reference: candidate.references.first, manifest: image.descriptor.digest,
            mediaType: image.descriptor.mediaType, platform: image.config.platform, topChain: top,
            layers: image.steps.map(ImageRecord.Layer.init))
    }

    // MARK: Doors 6 to 12

    /// Unpacks layers on threads of their own, `jobs` of them at once.
    ///
    /// Each thread makes its snapshot and commits it, so that none crosses a thread. The promise of its directory to
    /// the layer above keeps the order: nothing is complete, and nothing committed, before what lies below. A layer
    /// that fails ends those above it; those below go on and stay, so that the error is always the lowest layer's.
    private func unpack(
        _ missing: [LayerStep], of layout: ImageLayout, in store: SnapshotStore, _ run: Run
    ) throws(UnpackError) -> [String] {
        for step in missing { try attempt(in: step) { try layout.check(step.descriptor) } }
        let budget = try budget(for: missing, in: store)
        let form = try attempt { try store.whiteoutForm() }
        var work = try lock(missing, in: store, run)
        guard let lowest = work.first?.step else { return [] }
        let pipeline = LayerPipeline(layout, form: form, budget: budget, cancellation: cancellation)
        let permits = Permits(request.jobs)
        let lower = try layers(below: lowest, in: store)
        var below = Promise<LowerView?>(LowerView(lower.map(\.directory)))
        var threads = [WorkerThread<AppliedLayer>]()
        var failure: (any Error)?
        // Each lock goes with its layer's thread, and not with this.
        while !work.isEmpty {
            let (step, lock) = work.removeFirst()
            let permit = permits.take()
            // The layer below has failed already.
            if case .some(.none) = below.value { break }
            let above = Promise<LowerView?>()
            let prepared = Promise<Void>()
            do {
                threads.append(
                    try WorkerThread { [below] in
                        defer {
                            prepared.fulfil(())
                            above.fulfil(nil)
                        }
                        return try withExtendedLifetime((lock, permit)) {
                            let layer = LayerWork(
                                step: step, run: run, prepared: prepared, below: below, above: above)
                            return try unpack(layer, through: pipeline, in: store) { permit.giveBack() }
                        }
                    })
            } catch {
                failure = error
                break
            }
            below = above
            // In the order of the layers, so that the same image gets the same ids.
            prepared.wait()
        }
        let results = threads.map { thread in Result { try thread.join() } }
        return try attempt {
            let applied = try results.map { try $0.get() }
            if let failure { throw failure }
            return applied.flatMap { layer in
                layer.warnings.map { "\(layer.step.name): \($0.description)" }
            }
        }
    }

    /// One layer on its thread.
    private struct LayerWork: Sendable {
        let step: LayerStep
        let run: Run
        let prepared: Promise<Void>
        let below: Promise<LowerView?>
        let above: Promise<LowerView?>
    }

    /// The directories that the lowest missing layer lies on, topmost first.
    private func layers(below step: LayerStep, in store: SnapshotStore) throws(UnpackError) -> [SnapshotTree]
    {
        // A whole tree holds what it lies on.
        guard store.content == .layer, let chain = step.parent else { return [] }
        return try attempt {
            guard let parent = try store.verified(chain) else {
                throw UnpackError(.internal, "\(step.name): the layer below is not in the store")
            }
            return try store.layers(of: parent.name)
        }
    }

    /// What the missing layers may take: what was asked for, else what the store has free.
    private func budget(for missing: [LayerStep], in store: SnapshotStore) throws(UnpackError) -> Budget {
        let free = try attempt { try store.freeBytes() }
        let compressed = missing.reduce(0) { $0 + $1.descriptor.size }
        // Files that are stored as they are may have holes; what is compressed seldom gets smaller.
        let least = missing.reduce(0) { $0 + ($1.descriptor.mediaType.isCompressed ? $1.descriptor.size : 0) }
        guard request.limits.bytes != nil || least <= free else {
            throw UnpackError(
                .io,
                "the layers have \(least) bytes compressed, and \(free) are free in \(escaped(request.root))",
                hint: "free some space, or put the store elsewhere with --root DIR")
        }
        let (uncompressed, isEndless) = compressed.multipliedReportingOverflow(
            by: request.limits.ratio ?? .max)
        return Budget(
            Budget.Limits(
                bytes: request.limits.bytes ?? free, isFreeSpace: request.limits.bytes == nil,
                entries: request.limits.entries, uncompressed: isEndless ? .max : uncompressed))
    }

    /// Takes the locks of all missing chains, lowest first and before any work, so that two processes cannot
    /// wait for each other. What somebody else has committed meanwhile is left out.
    private func lock(
        _ missing: [LayerStep], in store: SnapshotStore, _ run: Run
    ) throws(UnpackError) -> [(step: LayerStep, lock: ChainLock)] {
        var work = [(step: LayerStep, lock: ChainLock)]()
        for step in missing {
            var hasTold = false
            while true {
                try check()
                let lock = try attempt { try store.tryLock(step.chainID) }
                if let lock {
                    let found = try attempt { try store.hold([step.chainID], in: run) }
                    if found.isEmpty { work.append((step, lock)) }
                    break
                }
                if !hasTold { onEvent(.waiting(step)) }
                hasTold = true
                Process.sleep(milliseconds: 20)
            }
        }
        return work
    }

    private func unpack(
        _ layer: LayerWork, through pipeline: LayerPipeline, in store: SnapshotStore,
        streamed: @escaping @Sendable () -> Void
    ) throws(UnpackError) -> AppliedLayer {
        try check()
        let step = layer.step
        let active = try prepare(layer, in: store)
        layer.prepared.fulfil(())
        onEvent(.started(step))
        let applied: AppliedLayer
        let parent: String?
        do throws(UnpackError) {
            applied = try attempt(in: step) { [onEvent] in
                let progress: LayerPipeline.Progress = { onEvent(.progressed(step, $0)) }
                return switch store.content {
                case .layer:
                    try pipeline.apply(
                        step, to: active.directory, over: layer.below, progress: progress, streamed: streamed)
                case .wholeTree:
                    try pipeline.apply(step, into: active.directory, progress: progress, streamed: streamed)
                }
            }
            try check()
            parent = try attempt { try self.parent(of: step, in: store) }
        } catch {
            // Nothing half-done stays. Should this fail too, the next run finds it by this run's lock.
            abandon(active, in: store)
            throw error
        }
        for warning in applied.warnings { onEvent(.warned(step, warning)) }
        let view = store.content == .layer ? layer.below.wait()?.adding(active.directory) : LowerView([])
        try commit(applied, active, onto: parent, in: store, layer.run)
        onEvent(.committed(step))
        logger.debug("\(step.name): \(applied.entries) entries, committed as \(step.chainID)")
        layer.above.fulfil(view)
        return applied
    }

    /// Door 6. A layer's own directory needs nothing of the layers below; a whole tree begins as a copy of them.
    private func prepare(_ layer: LayerWork, in store: SnapshotStore) throws(UnpackError) -> ActiveSnapshot {
        let key = "unpack/\(layer.run.name)/\(layer.step.number)"
        return try attempt {
            guard store.content == .wholeTree else {
                return try store.prepareLayer(key, parent: nil, in: layer.run)
            }
            guard layer.below.wait() != nil else { throw Cancelled(.failure) }
            return try store.prepareLayer(key, parent: try parent(of: layer.step, in: store), in: layer.run)
        }
    }

    private func abandon(_ active: consuming ActiveSnapshot, in store: SnapshotStore) {
        do {
            try store.abandon(active)
        } catch {
            logger.debug("left behind: \(error)")
        }
    }

    /// Door 12, the only place that says of a snapshot which chain it is: with the proof in hand.
    private func commit(
        _ applied: AppliedLayer, _ active: consuming ActiveSnapshot, onto parent: String?,
        in store: SnapshotStore,
        _ run: Run
    ) throws(UnpackError) {
        do {
            try store.commit(
                active, as: applied.step.chainID, onto: parent,
                isRecorded: isRecorded(applied.step, in: store),
                in: run, check: cancellation.check)
        } catch {
            // What was consumed cannot be in a closure.
            try attempt { throw error }
        }
    }

    /// Whether a layer's tree is recorded: reading it again takes time, which a store for one boot is not worth. Of whole
    /// trees the image's own is enough.
    private func isRecorded(_ step: LayerStep, in store: SnapshotStore) -> Bool {
        request.durability == .fs && (store.content == .layer || step.number == step.count)
    }

    /// The name of the snapshot that a layer stands on.
    private func parent(of step: LayerStep, in store: SnapshotStore) throws -> String? {
        try step.parent.map { chain in
            guard let found = try store.verified(chain) else {
                throw UnpackError(.internal, "\(step.name): the layer below is not in the store")
            }
            return found.name
        }
    }

    /// An active snapshot of the user's on top of the image: made, or the same one again. Another process may be making
    /// it at this moment.
    private func writableMounts(
        _ key: String, on parent: String, in store: SnapshotStore
    ) throws(UnpackError) -> [Mount] {
        while true {
            if let mounts = try finishedMounts(key, on: parent, in: store) { return mounts }
            try check()
            Process.sleep(milliseconds: 50)
            // Whoever was making it may have ended since: then it is nobody's any more, and goes.
            _ = try attempt { try store.startRun() }
        }
    }

    /// - Returns: nil while another process makes the snapshot.
    private func finishedMounts(
        _ key: String, on parent: String, in store: SnapshotStore
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
                hint: "choose another key")
        }
        do throws(StoreFailure) {
            return try store.mounts(of: key)
        } catch {
            if error.kind == .unavailable { return nil }
            throw UnpackError(error)
        }
    }

    /// A key stands in mount lines, and must not be taken for an option, a chain or one of our own.
    private func check(key: String) throws(UnpackError) {
        guard MountLine.isPrintable(key), !key.hasPrefix("-"), !key.contains("/"),
            (try? Digest(parsing: key)) == nil
        else {
            throw UnpackError(
                .usage, "'\(escaped(key.utf8))' is no key for a snapshot",
                hint: "use letters, digits and . _ - + @")
        }
    }

    private func check() throws(UnpackError) { try attempt { try cancellation.check() } }
}

/// Opens the store under `root` as this machine and boot have it.
package func openStore(_ root: FilePath, snapshotter: String) throws(UnpackError) -> SnapshotStore {
    try attempt {
        try SnapshotStore(
            opening: root, snapshotter: snapshotter, boot: try Process.bootID(),
            clock: Process.nanosecondsSinceEpoch)
    }
}
