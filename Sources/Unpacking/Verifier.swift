package import Kernel
internal import Layers
package import Layout
package import OCI
package import Snapshots
internal import Streams
package import SystemPackage
internal import TreeRecords

/// Compares the snapshots of a store with their records, and unpacks damaged layers again.
package struct Verifier: Sendable {
    private let root: FilePath
    private let snapshotter: String
    private let repair: Repair?
    private let cancellation: Cancellation

    /// The image that damaged layers are unpacked from.
    package struct Repair: Sendable {
        package let image: ImageSource
        package let selector: Selector

        package init(image: ImageSource, selector: Selector) {
            self.image = image
            self.selector = selector
        }
    }

    /// Progress of the work, in order, one snapshot after the other.
    package enum Event: Sendable {
        case started(SnapshotInfo, number: Int, count: Int)
        case found(SnapshotInfo, SnapshotStore.Finding)
        case ended(SnapshotInfo, Outcome)
        case repairing(LayerStep)
    }

    package enum Outcome: Sendable {
        /// - Parameter detectsForgery: false if the record has only CRC-32 of the content, as earlier versions wrote.
        case intact(paths: Int, detectsForgery: Bool)
        /// The snapshot had no record; one was written.
        case recorded
        case repaired
        /// - Parameter reason: why it was not repaired; nil if no repair was requested.
        case damaged(reason: UnpackError?)
    }

    package init(root: FilePath, snapshotter: String, repair: Repair?, cancellation: Cancellation) {
        self.root = root
        self.snapshotter = snapshotter
        self.repair = repair
        self.cancellation = cancellation
    }

    /// Verifies snapshots, the lowest first.
    ///
    /// - Parameter names: snapshots, or images, which stand for all of their layers (`SnapshotStore.named`); empty for
    ///   every committed snapshot.
    /// - Throws: `.notFound` for an unknown name, and what prevents the verification. Damage is reported as an event.
    package func run(_ names: [String], onEvent: (Event) -> Void) throws(UnpackError) {
        let store = try openStore(root, snapshotter: snapshotter)
        let source = try repair.map { repair throws(UnpackError) in try Source(repair, cancellation) }
        let run = try attempt { try store.startRun() }
        defer { try? store.release(run) }
        var pass = Pass(store: store, run: run, source: source, cancellation: cancellation)
        let snapshots = try pass.select(names)
        for (index, snapshot) in snapshots.enumerated() {
            try attempt { try cancellation.check() }
            onEvent(.started(snapshot, number: index + 1, count: snapshots.count))
            let verification = try pass.verify(snapshot) { onEvent(.found(snapshot, $0)) }
            switch verification {
            case _ where pass.soundness[snapshot.id] == false:
                let outcome = try pass.repair(snapshot, onEvent)
                if case .repaired = outcome { pass.soundness[snapshot.id] = true }
                onEvent(.ended(snapshot, outcome))
            case .recorded: onEvent(.ended(snapshot, .recorded))
            case .compared(let paths, let strength):
                onEvent(.ended(snapshot, .intact(paths: paths, detectsForgery: strength == .digest)))
            }
        }
        // The writer of a stream can finish.
        if let source { try attempt { try source.layout.finish() } }
    }

    fileprivate struct Source {
        let layout: ImageLayout
        let image: Image

        init(_ repair: Repair, _ cancellation: Cancellation) throws(UnpackError) {
            (layout, image) = try attempt {
                let layout = try ImageLayout(opening: repair.image, cancellation: cancellation)
                return (layout, try layout.load(layout.select(repair.selector).descriptor))
            }
        }
    }

    /// One pass over a store, in one run.
    fileprivate struct Pass {
        let store: SnapshotStore
        let run: Run
        let source: Source?
        let cancellation: Cancellation
        /// By ID, whether a verified snapshot matches its record.
        var soundness = [Int64: Bool]()
    }
}

extension Verifier.Pass {
    fileprivate mutating func verify(
        _ snapshot: SnapshotInfo, report: (SnapshotStore.Finding) -> Void
    ) throws(UnpackError) -> SnapshotStore.Verification {
        var isSound = true
        let verification = try attempt {
            try store.verify(snapshot.name, in: run, check: cancellation.check) { finding in
                isSound = false
                report(finding)
            }
        }
        soundness[snapshot.id] = isSound
        return verification
    }

    /// The snapshots to verify, lower layers first, because a layer is repaired over the layers below it.
    fileprivate func select(_ names: [String]) throws(UnpackError) -> [SnapshotInfo] {
        try attempt {
            var all = [SnapshotInfo]()
            // The IDs of layers that were unpacked in parallel need not be in the order of the chain.
            try store.walk { if $0.kind == .committed { all.append($0) } }
            let parents = Dictionary(all.map { ($0.id, $0.parentID) }) { first, _ in first }
            var known = [Int64: Int]()
            let depths = all.map { snapshot in
                // Ends at the first snapshot of known depth, so that each is visited once, however long the chain is.
                let chain = Array(
                    sequence(first: snapshot.id) { parents[$0] ?? nil }.prefix { known[$0] == nil })
                let above = chain.last.flatMap { parents[$0] ?? nil }.flatMap { known[$0] } ?? 0
                for (index, id) in chain.reversed().enumerated() { known[id] = above + index + 1 }
                return known[snapshot.id] ?? 0
            }
            all = zip(depths, all).sorted { ($0.0, $0.1.id) < ($1.0, $1.1.id) }.map(\.1)
            guard !names.isEmpty else { return all }
            var chosen = Set<Int64>()
            for name in names {
                let found = try store.named(name)
                // Reports that there is none.
                if found.isEmpty { _ = try store.stat(name) }
                for meaning in found {
                    switch meaning {
                    case .snapshot(let snapshot): chosen.insert(snapshot.id)
                    case .image(let image):
                        chosen.formUnion(try image.layers.compactMap { try store.verified($0.chainID)?.id })
                    }
                }
            }
            return all.filter { chosen.contains($0.id) }
        }
    }

    // MARK: Repairing

    /// Repairs a damaged layer. A failure becomes the outcome of this layer; only cancellation ends the whole work.
    fileprivate mutating func repair(
        _ snapshot: SnapshotInfo, _ onEvent: (Verifier.Event) -> Void
    ) throws(UnpackError) -> Verifier.Outcome {
        guard let source else { return .damaged(reason: nil) }
        let step = source.image.steps.first { $0.chainID == snapshot.verifiedChain }
        guard let step else {
            return .damaged(
                reason: UnpackError(
                    .notFound, "the image has no such layer", hint: "repair it from its own image"))
        }
        onEvent(.repairing(step))
        do {
            try checkLayers(below: step, of: source)
            try unpackAgain(step, from: source)
            return .repaired
        } catch {
            if case .interrupted = error.code { throw error }
            return .damaged(reason: error)
        }
    }

    /// Checks the layers below. Hard links to their files, or the full copy of them, would carry their damage over to
    /// the repaired layer and its new record.
    private mutating func checkLayers(
        below step: LayerStep, of source: Verifier.Source
    ) throws(UnpackError) {
        for lower in source.image.steps.prefix(while: { $0.chainID != step.chainID }) {
            guard let layer = try attempt({ try store.verified(lower.chainID) }) else { continue }
            // A layer that `names` does not include.
            if soundness[layer.id] == nil { _ = try verify(layer) { _ in } }
            if soundness[layer.id] == false {
                throw UnpackError(
                    .unavailable, "a layer below it, \(layer.name), is damaged",
                    hint: "repair that layer first")
            }
        }
    }

    private func unpackAgain(
        _ step: LayerStep, from source: Verifier.Source
    ) throws(UnpackError) {
        let budget = UnpackRequest.Limits().budget(
            compressed: nil, freeBytes: try attempt { try store.freeBytes() })
        let form = try attempt { try store.whiteoutForm() }
        let pipeline = LayerPipeline(source.layout, form: form, budget: budget, cancellation: cancellation)
        let parent = try attempt { try step.parent.flatMap { try store.verified($0)?.name } }
        let active = try attempt {
            try store.prepareLayer(
                "repair/\(run.name)/\(step.number)", parent: store.content == .mergedTree ? parent : nil,
                in: run)
        }
        do throws(UnpackError) {
            let lower = try attempt { try store.lowerLayers(of: parent) }
            _ = try attempt(in: step) {
                try pipeline.write(step, into: active, of: store.content, over: Promise(lower.view))
            }
        } catch {
            try? store.abandon(active)
            throw error
        }
        do throws(StoreFailure) {
            try store.replace(step.chainID, with: active, in: run)
        } catch {
            throw UnpackError(error)
        }
    }
}
