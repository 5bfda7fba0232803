internal import Kernel
internal import Layers
internal import OCI
internal import Snapshots
internal import Streams

/// A layer that was written into a snapshot that is not committed yet.
struct LayerInSnapshot: Sendable {
    let applied: AppliedLayer
    fileprivate let content: Content

    fileprivate enum Content {
        case directory(Directory)
        case image(LayerImage)
        case mergedTree
    }

    /// The lower view of the layer above.
    ///
    /// - Parameter below: the lower view of this layer, which is waited for.
    func viewFromAbove(over below: Promise<LowerOutcome>) throws -> LowerView {
        switch content {
        case .directory(let directory): try below.wait().view().adding(topLayer: directory)
        case .image(let image): try below.wait().view().adding(topLayer: image)
        // A full copy contains the layers below.
        case .mergedTree: LowerView([])
        }
    }
}

extension LayerPipeline {
    /// Writes a layer into a new snapshot, in the form that its snapshotter needs.
    ///
    /// - Parameters:
    ///   - lower: as in `apply(_:to:over:)`; a full-copy backend does not need it.
    ///   - onRead: as in `apply(_:to:over:)`.
    func write(
        _ step: LayerStep, into active: borrowing ActiveSnapshot, of content: SnapshotContent,
        over lower: Promise<LowerOutcome>, progress: @escaping Progress = { _ in },
        onRead: @escaping @Sendable () -> Void = {}
    ) throws -> LayerInSnapshot {
        let directory = active.directory
        switch content {
        case .layer:
            let applied = try apply(step, to: directory, over: lower, progress: progress, onRead: onRead)
            return LayerInSnapshot(applied: applied, content: .directory(directory))
        case .mergedTree:
            let applied = try apply(step, into: directory, progress: progress, onRead: onRead)
            return LayerInSnapshot(applied: applied, content: .mergedTree)
        case .image:
            let applied = try write(
                step, to: try active.makeImage(), scratch: directory, over: lower, progress: progress,
                onRead: onRead)
            return LayerInSnapshot(applied: applied, content: .image(try LayerImage(active.openImage())))
        }
    }
}

/// Committed layers as the layers above see them, open as long as this value exists.
struct LowerLayers {
    let view: LowerView
    fileprivate let trees: [SnapshotTree]

    fileprivate init(_ view: LowerView, _ trees: [SnapshotTree] = []) {
        self.view = view
        self.trees = trees
    }
}

extension SnapshotStore {
    /// Opens a committed layer and those below it.
    ///
    /// - Parameter name: nil for none.
    /// - Returns: nothing for a full-copy backend, whose new snapshot has the files of those below.
    func lowerLayers(of name: String?) throws -> LowerLayers {
        guard let name else { return LowerLayers(LowerView([])) }
        switch content {
        case .mergedTree: return LowerLayers(LowerView([]))
        case .layer:
            let trees = try layers(of: name)
            return LowerLayers(LowerView(trees.map(\.directory)), trees)
        case .image:
            return LowerLayers(
                try LowerView(images: try images(of: name).map { try LayerImage(try File.open($0, .read)) }))
        }
    }
}
