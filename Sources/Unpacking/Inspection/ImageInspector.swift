package import Kernel
package import Layers
internal import Layout
internal import OCI

/// Inspects images without unpacking them: reads and verifies all layers, and writes nothing.
package struct ImageInspector: Sendable {
    let cancellation: Cancellation
    private let onEvent: @Sendable (UnpackEvent) -> Void
    /// The memory limit that all trees share.
    let memory = TreeMemory()

    package init(cancellation: Cancellation, onEvent: @escaping @Sendable (UnpackEvent) -> Void) {
        self.cancellation = cancellation
        self.onEvent = onEvent
    }

    /// The merged tree of an image.
    ///
    /// - Parameter digests: whether the digests of the files are computed, for a comparison.
    package func tree(of opened: OpenedImage, digests: Bool = false) throws(UnpackError) -> ImageTree {
        let tree = try treeLeavingStreamOpen(of: opened, digests: digests)
        try finish(opened)
        return tree
    }

    /// As `tree`, for a caller that reads layers again and then ends the reading of a stream.
    func treeLeavingStreamOpen(of opened: OpenedImage, digests: Bool = false) throws(UnpackError) -> ImageTree
    {
        onEvent(.planned(opened.image.steps, cached: []))
        var tree = ImageTree()
        try add(opened.image.steps, of: opened, to: &tree, reader(of: opened, digests: digests))
        return tree
    }

    /// The merged trees of two images with the digests of the files. Common lower layers are read once.
    package func trees(
        of old: OpenedImage, _ new: OpenedImage
    ) throws(UnpackError) -> (ImageTree, ImageTree) {
        let shared = zip(old.image.steps, new.image.steps).prefix { $0.diffID == $1.diffID }.count
        let rest = Array(new.image.steps[shared...])
        onEvent(.planned(old.image.steps + rest, cached: []))
        var tree = ImageTree()
        let reader = reader(of: old, digests: true)
        try add(Array(old.image.steps[..<shared]), of: old, to: &tree, reader)
        var other = tree
        try add(Array(old.image.steps[shared...]), of: old, to: &tree, reader)
        try add(rest, of: new, to: &other, self.reader(of: new, digests: true))
        for image in [old, new] { try finish(image) }
        return (tree, other)
    }

    /// The history of a path through the layers. Symlinks in the path are resolved in the merged tree, that of the last
    /// component only if the path ends with a slash.
    ///
    /// - Throws: `.data` for too many symlinks.
    package func history(of path: [UInt8], in opened: OpenedImage) throws(UnpackError) -> PathHistory {
        onEvent(.planned(opened.image.steps, cached: []))
        // The resolved path is known after all layers have been read, and usually equal to the given one.
        let plain = ImageTree().resolve(path).path ?? []
        let (history, tree) = try history(ofResolved: plain, in: opened)
        let resolved = try Self.resolve(path, in: tree)
        let result = resolved == plain ? history : try self.history(ofResolved: resolved, in: opened).history
        try finish(opened)
        return result
    }

    /// - Throws: `.data` for too many symlinks.
    static func resolve(_ path: [UInt8], in tree: ImageTree) throws(UnpackError) -> [FileName] {
        guard let resolved = tree.resolve(path).path else {
            throw UnpackError(.data, "too many symlinks on the path")
        }
        return resolved
    }

    private func history(
        ofResolved path: [FileName], in opened: OpenedImage
    ) throws(UnpackError) -> (history: PathHistory, tree: ImageTree) {
        let reader = reader(of: opened, digests: false)
        var tree = ImageTree()
        var layers = [PathHistory.Layer]()
        var before: PathHistory.State?
        for step in opened.image.steps {
            let added = try add(step, of: opened, to: &tree, reader, tracking: path)
            let after = PathHistory.State(of: path, in: tree, sharesFiles: true)
            layers.append(
                PathHistory.Layer(step: step, of: path, events: added.events, before: before, after: after)
            )
            before = after
        }
        let links = tree.lookUp(path).map { tree.linkCounts()[$0] }
        return (PathHistory(of: path, layers, links: links, hasEntries: true), tree)
    }

    // MARK: Reading

    /// Reads the rest of a stream, so that its writer can finish.
    private func finish(_ opened: OpenedImage) throws(UnpackError) {
        try attempt { try opened.layout.finish() }
    }

    private func reader(of opened: OpenedImage, digests: Bool) -> TreeReader {
        TreeReader(
            opened.layout, budget: UnpackRequest.Limits().budget(compressed: nil), memory: memory,
            digests: digests, cancellation: cancellation)
    }

    private func add(
        _ steps: [LayerStep], of opened: OpenedImage, to tree: inout ImageTree, _ reader: TreeReader
    ) throws(UnpackError) {
        for step in steps { _ = try add(step, of: opened, to: &tree, reader) }
    }

    @discardableResult
    private func add(
        _ step: LayerStep, of opened: OpenedImage, to tree: inout ImageTree, _ reader: TreeReader,
        tracking path: [FileName]? = nil
    ) throws(UnpackError) -> TreeReader.Result {
        onEvent(.started(step))
        do {
            let added = try reader.add(step, to: &tree, tracking: path) { [onEvent] in
                onEvent(.progressed(step, $0))
            }
            onEvent(.read(step))
            return added
        } catch {
            throw UnpackError(error, in: step)
        }
    }
}
