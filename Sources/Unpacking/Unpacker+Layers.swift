internal import Kernel
internal import Layers
internal import Layout
internal import Logging
internal import OCI
internal import Snapshots
internal import Streams

/// Stages 6 to 12: unpacks the missing layers of an image in one run, each layer on a thread of its own.
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

    /// Unpacks layers on threads of their own, `jobs` of them in parallel, in the order of `LayerQueue`.
    ///
    /// Each thread commits its layer. The future of the lower view keeps the order: a layer is completed and committed
    /// after the layers below it. A layer that fails ends those above it; those below continue and stay in the store,
    /// so that the error is always the lowest layer's.
    ///
    /// - Returns: the warnings, one line each.
    func unpack(_ missing: [LayerStep]) throws(UnpackError) -> [String] {
        for step in missing { try attempt(in: step) { try layout.check(step.descriptor) } }
        let budget = try budget(for: missing)
        let form = try attempt { try store.whiteoutForm() }
        let work = try lock(missing)
        guard let lowest = work.first else { return [] }
        // A full copy starts as a copy of the snapshot below, which must be complete.
        let jobs = store.content.isLayer ? min(request.jobs, work.count) : 1
        let pipeline = LayerPipeline(
            layout, form: form, budget: budget, cancellation: cancellation, parallelLayers: jobs,
            keepsDigests: isRecorded)
        let lower = try attempt(in: lowest.step) { try store.lowerLayers(of: parent(of: lowest.step)) }
        lowest.below.fulfil(lower.view)
        let writeback = request.durability == .fs ? EarlyWriteback(of: budget, to: store) : nil
        let results = runAll(work, jobs: jobs, through: pipeline)
        writeback?.end()
        return try attempt {
            try results.map { try $0.get() }.flatMap { layer in
                layer.warnings.map { "\(layer.step.name): \($0.description)" }
            }
        }
    }

    /// Starts all layers, and waits until they have ended.
    ///
    /// - Parameter work: the lowest first.
    /// - Returns: the results in the same order.
    private func runAll(
        _ work: [LayerWork], jobs: Int, through pipeline: LayerPipeline
    ) -> [Result<AppliedLayer, any Error>] {
        let queue = Locked(LayerQueue(sizes: work.map(\.step.descriptor.size)))
        let permits = Semaphore(jobs)
        var prepared = 0
        var threads = work.map { _ in WorkerThread<AppliedLayer>?.none }
        var failure: (any Error)?
        for _ in work {
            let permit = permits.take()
            guard let index = queue.withLock({ $0.next() }) else { break }
            let layer = work[index]
            let finishReading: @Sendable () -> Void = {
                queue.withLock { $0.finishReading(index) }
                permit.release()
            }
            // The layer below has failed already.
            if case .failed = layer.below.value {
                layer.above.fulfil(.failed)
                finishReading()
                continue
            }
            do {
                // Created in the order of the layers, so that the same image gets the same IDs.
                while store.content.isLayer, prepared <= index {
                    work[prepared].active.give(try prepare(work[prepared]))
                    prepared += 1
                }
                threads[index] = try WorkerThread {
                    defer {
                        finishReading()
                        layer.above.fulfil(.failed)
                    }
                    // Released as soon as the layer is committed, for other processes that wait for it.
                    return try withExtendedLifetime(layer.lock.take()) {
                        try unpack(layer, through: pipeline, onRead: finishReading)
                    }
                }
            } catch {
                failure = error
                break
            }
        }
        // Layers that were never started produce no result.
        for (layer, thread) in zip(work, threads) where thread == nil { layer.above.fulfil(.failed) }
        let results = zip(work, threads).map { layer, thread in
            Result {
                guard let thread else { throw failure ?? Cancelled(.failure) }
                return try thread.join()
            }
        }
        for layer in work { if let active = layer.active.take() { abandon(active) } }
        return results
    }

    /// Whether the tree of each layer is recorded, which takes another walk; not if the result need not outlive this
    /// boot.
    private var isRecorded: Bool { request.durability == .fs }

    /// What the thread of one layer needs.
    private struct LayerWork: Sendable {
        let step: LayerStep
        let lock = OwnershipTransfer<ChainLock>()
        /// Empty with a full-copy backend, whose snapshot the thread creates.
        let active = OwnershipTransfer<ActiveSnapshot>()
        /// The outcome of the layers below this one.
        let below: Promise<LowerOutcome>
        /// The same for the layer above.
        let above = Promise<LowerOutcome>()

        init(_ step: LayerStep, _ lock: ChainLock, on below: LayerWork?) {
            self.step = step
            self.lock.give(lock)
            self.below = below?.above ?? Promise()
        }
    }

    /// The free bytes for the layers. If they may be too few, the trash is deleted first.
    private func freeBytes(for compressed: Int64) throws(UnpackError) -> Int64 {
        let free = try attempt { try store.freeBytes() }
        // Files are rarely more than a hundred times larger than their compressed size.
        let (likely, overflows) = compressed.multipliedReportingOverflow(by: request.limits.ratio ?? 100)
        let most = min(overflows ? .max : likely, request.limits.bytes ?? .max)
        // The size of the copy of the layers below is unknown here.
        let isTight = free < most || store.content == .mergedTree
        guard isTight, try attempt({ try store.hasTrash() }) else { return free }
        try attempt { try store.freeTrash { !cancellation.isCancelled } }
        try check()
        return try attempt { try store.freeBytes() }
    }

    /// The limits of the missing layers: those of the request, with the free bytes of the store as the default.
    private func budget(for missing: [LayerStep]) throws(UnpackError) -> Budget {
        let compressed = missing.reduce(0) { $0 + $1.descriptor.size }
        let free = try freeBytes(for: compressed)
        // A layer that is not compressed may contain sparse files; a compressed one rarely unpacks to less.
        let least = missing.reduce(0) { $0 + ($1.descriptor.mediaType.isCompressed ? $1.descriptor.size : 0) }
        guard request.limits.bytes != nil || least <= free else {
            throw UnpackError(
                .io,
                "the layers have \(least) bytes compressed, and \(free) are free in \(escaped(request.root))",
                hint: "free some space, or put the store elsewhere with --root DIR")
        }
        return request.limits.budget(compressed: compressed, freeBytes: free)
    }

    /// Takes the locks of all missing chains, the lowest first and before any work, so that two processes cannot wait
    /// for each other. Omits the layers that other processes have committed meanwhile.
    private func lock(_ missing: [LayerStep]) throws(UnpackError) -> [LayerWork] {
        var work = [LayerWork]()
        for step in missing {
            var hasReported = false
            while true {
                try check()
                let lock = try attempt { try store.tryLock(step.chainID) }
                if let lock {
                    let found = try attempt { try store.protect([step.chainID], in: run) }
                    if found.isEmpty { work.append(LayerWork(step, lock, on: work.last)) }
                    break
                }
                if !hasReported { onEvent(.waiting(step)) }
                hasReported = true
                Process.sleep(milliseconds: 20)
            }
        }
        return work
    }

    private func unpack(
        _ layer: LayerWork, through pipeline: LayerPipeline,
        onRead: @escaping @Sendable () -> Void
    ) throws(UnpackError) -> AppliedLayer {
        try check()
        let step = layer.step
        let active = if let ready = layer.active.take() { ready } else { try prepare(layer) }
        onEvent(.started(step))
        let written: LayerInSnapshot
        let parent: String?
        do throws(UnpackError) {
            written = try attempt(in: step) { [onEvent] in
                try pipeline.write(
                    step, into: active, of: store.content, over: layer.below,
                    progress: { onEvent(.progressed(step, $0)) }, onRead: onRead)
            }
            try check()
            parent = try attempt { try self.parent(of: step) }
        } catch {
            // Removes the unfinished snapshot. If that fails, the next run recognizes it by the lock of this run.
            abandon(active)
            throw error
        }
        let applied = written.applied
        for warning in applied.warnings { onEvent(.warned(step, message: warning.description)) }
        let view = try attempt { try written.viewFromAbove(over: layer.below) }
        try commit(applied, active, onto: parent)
        onEvent(.committed(step))
        logger.debug("\(step.name): \(applied.entries) entries, committed as \(step.chainID)")
        layer.above.fulfil(view)
        return applied
    }

    /// Stage 6. The directory of a single layer does not depend on the layers below; a full copy starts as their copy.
    private func prepare(_ layer: LayerWork) throws(UnpackError) -> ActiveSnapshot {
        let key = "unpack/\(run.name)/\(layer.step.number)"
        return try attempt {
            guard store.content == .mergedTree else {
                return try store.prepareLayer(key, parent: nil, in: run)
            }
            _ = try layer.below.wait().view()
            do {
                return try store.prepareLayer(
                    key, parent: try parent(of: layer.step), in: run,
                    shouldContinue: { !cancellation.isCancelled })
            } catch {
                // Reports the signal rather than the copy that it has interrupted.
                try check()
                throw error
            }
        }
    }

    private func abandon(_ active: consuming ActiveSnapshot) {
        do {
            try store.abandon(active)
        } catch {
            logger.debug("cannot remove an unfinished snapshot: \(error)")
        }
    }

    /// Stage 12, the only place that assigns a chain ID to a snapshot, which requires an `AppliedLayer`.
    private func commit(
        _ applied: AppliedLayer, _ active: consuming ActiveSnapshot, onto parent: String?
    ) throws(UnpackError) {
        do {
            try store.commit(
                active, as: applied.step.chainID, onto: parent, isRecorded: isRecorded, in: run,
                knownDigests: KnownDigests(tar: applied.step.diffID.digest) { applied.digests[$0] },
                check: cancellation.check)
        } catch {
            // Not inside `attempt`, because a closure cannot consume `active`.
            try attempt { throw error }
        }
    }

    /// The name of the snapshot of the layer below.
    private func parent(of step: LayerStep) throws -> String? {
        try step.parent.map { chain in
            guard let found = try held[chain] ?? store.verified(chain) else {
                throw UnpackError(.internal, "\(step.name): the layer below is not in the store")
            }
            return found.name
        }
    }
}
