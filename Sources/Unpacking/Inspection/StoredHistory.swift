internal import Kernel
internal import Layers
package import OCI
package import Snapshots

extension ImageInspector {
    /// The history of a path of an image in the store: the difference that each layer makes, found in the snapshots. It
    /// has no entries, and no layer that wrote what was there before.
    ///
    /// - Parameter path: as for an image on the disk.
    /// - Throws: `.notFound` if a snapshot was removed meanwhile; `.data` for too many symlinks.
    package func history(
        of path: [UInt8], in image: Image, _ store: SnapshotStore
    ) throws(UnpackError) -> PathHistory {
        let top = try tree(at: path, of: try image.topChain(), in: store)
        let resolved = try Self.resolve(path, in: top)
        let plain = Array(resolved.map(\.bytes).joined(separator: [UInt8(ascii: "/")]))
        var layers = [PathHistory.Layer]()
        var before: PathHistory.State?
        for step in image.steps {
            let tree = try tree(at: plain, of: step.chainID, in: store)
            let after = PathHistory.State(of: resolved, in: tree, sharesFiles: false)
            layers.append(
                PathHistory.Layer(step: step, of: resolved, events: [], before: before, after: after))
            before = after
        }
        return PathHistory(of: resolved, layers, links: nil, hasEntries: false)
    }

    private func tree(
        at path: [UInt8], of chain: ChainID, in store: SnapshotStore
    ) throws(UnpackError) -> ImageTree {
        guard let snapshot = try attempt({ try store.verified(chain) }) else {
            throw UnpackError.imageWasRemoved
        }
        return try withTree(of: snapshot.name, in: store) { root in
            try ImageTree(path, in: root) { try cancellation.check() }
        }
    }
}
