internal import Kernel
internal import Layers
internal import Layout
internal import Logging
internal import OCI
internal import Snapshots
internal import Streams

/// The unpacking of an image's missing layers in one run, each layer on a thread of its own: stages 6 to 12.
struct LayerUnpacking: Sendable {
    let unpacker: Unpacker
    let layout: ImageLayout
    let store: SnapshotStore
    let run: Run
    /// The layers that were in the store already. The run keeps them from being removed.
    let held: [ChainID: SnapshotInfo]

    private var request: UnpackRequest { unpacker.request }
    private var cancellation: Cancellation { unpacker.cancellation }
    private var logger: Logger { unpacker.logger }
    private var onEvent: @Sendable (UnpackEvent) -> Void { unpacker.onEvent }

    private func check() throws(UnpackError) { try unpacker.check() }

    /// Unpacks layers on threads of their own, `jobs` of them at once, in the order of `LayerQueue`.
    ///
    /// Each thread commits its layer. The promise of its directory to the layer above keeps the order: nothing is complete,
    /// and nothing committed, before what lies below. A layer that fails ends those above it; those below go on and stay,
    /// so that the error is always the lowest layer's.
    func unpack(_ missing: [LayerStep]) throws(UnpackError) -> [String] {
        for step in missing { try attempt(in: step) { try layout.check(step.descriptor) } }
        let budget = try budget(for: missing)
        let form = try attempt { try store.whiteoutForm() }
        let work = try lock(missing)
        guard let lowest = work.first else { return [] }
        // A whole tree cannot be begun before the one below it is there.
        let jobs = store.content == .layer ? min(request.jobs, work.count) : 1
        let pipeline = LayerPipeline(
            layout, form: form, budget: budget, cancellation: cancellation, layersAtOnce: jobs,
            keepsDigests: isRecorded)
        let lower = try layers(below: lowest.step)
        lowest.below.fulfil(LowerView(lower.map(\.directory)))
        let writeback = request.durability == .fs ? EarlyWriteback(of: budget, to: store) : nil
        let results = begin(work, jobs: jobs, through: pipeline)
        writeback?.end()
        return try attempt {
            try results.map { try $0.get() }.flatMap { layer in
                layer.warnings.map { "\(layer.step.name): \($0.description)" }
            }
        }
    }

    /// Begins all layers, and waits for their ends.
    ///
    /// - Parameter work: the lowest first.
    /// - Returns: what came of them, the lowest first.
    private func begin(
        _ work: [LayerWork], jobs: Int, through pipeline: LayerPipeline
    ) -> [Result<AppliedLayer, any Error>] {
        let queue = Guarded(LayerQueue(sizes: work.map(\.step.descriptor.size)))
        let permits = Permits(jobs)
        var prepared = 0
        var threads = work.map { _ in WorkerThread<AppliedLayer>?.none }
        var failure: (any Error)?
        for _ in work {
            let permit = permits.take()
            guard let index = queue.withLock({ $0.next() }) else { break }
            let layer = work[index]
            let hasRead: @Sendable () -> Void = {
                queue.withLock { $0.hasRead(index) }
                permit.giveBack()
            }
            // The one below has failed already.
            if case .some(.none) = layer.below.value {
                layer.above.fulfil(nil)
                hasRead()
                continue
            }
            do {
                // In the order of the layers, so that the same image gets the same ids.
                while store.content == .layer, prepared <= index {
                    work[prepared].active.give(try prepare(work[prepared]))
                    prepared += 1
                }
                threads[index] = try WorkerThread {
                    defer {
                        hasRead()
                        layer.above.fulfil(nil)
                    }
                    // Others may have the layer as soon as it is committed.
                    return try withExtendedLifetime(layer.lock.take()) {
                        try unpack(layer, through: pipeline, streamed: hasRead)
                    }
                }
            } catch {
                failure = error
                break
            }
        }
        // Of what was not begun nothing comes.
        for (layer, thread) in zip(work, threads) where thread == nil { layer.above.fulfil(nil) }
        let results = zip(work, threads).map { layer, thread in
            Result {
                guard let thread else { throw failure ?? Cancelled(.failure) }
                return try thread.join()
            }
        }
        for layer in work { if let active = layer.active.take() { abandon(active) } }
        return results
    }

    /// To record a tree is to walk through it again, which a store for one boot is not worth.
    private var isRecorded: Bool { request.durability == .fs }

    /// One layer on its way to its thread.
    private struct LayerWork: Sendable {
        let step: LayerStep
        let lock = Handover<ChainLock>()
        /// Of a whole tree none: that one is made by the thread.
        let active = Handover<ActiveSnapshot>()
        let below: Promise<LowerView?>
        let above = Promise<LowerView?>()

        init(_ step: LayerStep, _ lock: ChainLock, on below: LayerWork?) {
            self.step = step
            self.lock.give(lock)
            self.below = below?.above ?? Promise()
        }
    }

    /// The directories that the lowest missing layer lies on, topmost first.
    private func layers(below step: LayerStep) throws(UnpackError) -> [SnapshotTree] {
        // A whole tree holds what it lies on.
        guard store.content == .layer else { return [] }
        return try attempt { try parent(of: step).map(store.layers) ?? [] }
    }

    /// Bytes that are free for the layers. Where they may be too few, what was removed is deleted to its end before.
    private func freeBytes(for compressed: Int64) throws(UnpackError) -> Int64 {
        let free = try attempt { try store.freeBytes() }
        // Files seldom have a hundred times what they take compressed.
        let (likely, isEndless) = compressed.multipliedReportingOverflow(by: request.limits.ratio ?? 100)
        let most = min(isEndless ? .max : likely, request.limits.bytes ?? .max)
        // What a copy of the layers below takes is not known here.
        let isTight = free < most || store.content == .wholeTree
        guard isTight, try attempt({ try store.hasTrash() }) else { return free }
        try attempt { try store.makeRoom { !cancellation.isCancelled } }
        try check()
        return try attempt { try store.freeBytes() }
    }

    /// What the missing layers may take: what was asked for, else what the store has free.
    private func budget(for missing: [LayerStep]) throws(UnpackError) -> Budget {
        let compressed = missing.reduce(0) { $0 + $1.descriptor.size }
        let free = try freeBytes(for: compressed)
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
    private func lock(_ missing: [LayerStep]) throws(UnpackError) -> [LayerWork] {
        var work = [LayerWork]()
        for step in missing {
            var hasTold = false
            while true {
                try check()
                let lock = try attempt { try store.tryLock(step.chainID) }
                if let lock {
                    let found = try attempt { try store.hold([step.chainID], in: run) }
                    if found.isEmpty { work.append(LayerWork(step, lock, on: work.last)) }
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
        _ layer: LayerWork, through pipeline: LayerPipeline,
        streamed: @escaping @Sendable () -> Void
    ) throws(UnpackError) -> AppliedLayer {
        try check()
        let step = layer.step
        let active = if let ready = layer.active.take() { ready } else { try prepare(layer) }
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
            parent = try attempt { try self.parent(of: step) }
        } catch {
            // Nothing half-done stays. Should this fail too, the next run finds it by this run's lock.
            abandon(active)
            throw error
        }
        for warning in applied.warnings { onEvent(.warned(step, warning)) }
        let view = store.content == .layer ? layer.below.wait()?.adding(active.directory) : LowerView([])
        try commit(applied, active, onto: parent)
        onEvent(.committed(step))
        logger.debug("\(step.name): \(applied.entries) entries, committed as \(step.chainID)")
        layer.above.fulfil(view)
        return applied
    }

    /// Door 6. A layer's own directory needs nothing of the layers below; a whole tree begins as a copy of them.
    private func prepare(_ layer: LayerWork) throws(UnpackError) -> ActiveSnapshot {
        let key = "unpack/\(run.name)/\(layer.step.number)"
        return try attempt {
            guard store.content == .wholeTree else {
                return try store.prepareLayer(key, parent: nil, in: run)
            }
            guard layer.below.wait() != nil else { throw Cancelled(.failure) }
            do {
                return try store.prepareLayer(
                    key, parent: try parent(of: layer.step), in: run,
                    isWanted: { !cancellation.isCancelled })
            } catch {
                // That says more than a copy that was given up.
                try check()
                throw error
            }
        }
    }

    private func abandon(_ active: consuming ActiveSnapshot) {
        do {
            try store.abandon(active)
        } catch {
            logger.debug("left behind: \(error)")
        }
    }

    /// Door 12, the only place that says of a snapshot which chain it is: with the proof in hand.
    private func commit(
        _ applied: AppliedLayer, _ active: consuming ActiveSnapshot, onto parent: String?
    ) throws(UnpackError) {
        do {
            try store.commit(
                active, as: applied.step.chainID, onto: parent, isRecorded: isRecorded, in: run,
                known: { applied.digests[$0] }, check: cancellation.check)
        } catch {
            // What was consumed cannot be in a closure.
            try attempt { throw error }
        }
    }

    /// The name of the snapshot that a layer stands on.
    private func parent(of step: LayerStep) throws -> String? {
        try step.parent.map { chain in
            guard let found = try held[chain] ?? store.verified(chain) else {
                throw UnpackError(.internal, "\(step.name): the layer below is not in the store")
            }
            return found.name
        }
    }
}
