internal import Crypto

/// One step of unpacking an image: a layer and the chain below it.
package struct LayerStep: Hashable, Sendable {
    /// Position of the layer from 1, and number of layers: `layer 3 of 7`.
    package let number: Int
    package let count: Int
    package let descriptor: Descriptor
    package let diffID: DiffID
    package let chainID: ChainID
    /// Nil for the lowest layer.
    package let parent: ChainID?

    /// The layer's name in messages.
    package var name: String { "layer \(number) of \(count) (\(descriptor.digest.short))" }
}

extension LayerStep {
    /// Maximum number of lower layers of an overlay mount (kernel: fs/overlayfs/params.c, OVL_MAX_STACK).
    package static let maximumCount = 500

    /// Plans the steps of an image, lowest layer first, at least one (OCI image spec, config.md, "Layer ChainID"). An
    /// image without layers is an empty root file system: its one step is the empty layer.
    ///
    /// - Throws: `DocumentError` if the number of layers differs from the number of diff IDs, if there are more than
    ///   `maximumCount` layers, or if one is not a file-system layer.
    package static func plan(_ manifest: ImageManifest, _ config: ImageConfig) throws(DocumentError)
        -> [LayerStep]
    {
        let layers = manifest.layers
        let diffIDs = config.rootfs.diffIDs
        guard layers.count == diffIDs.count else {
            throw DocumentError(
                "the manifest has \(layers.count) layers, the config \(diffIDs.count) diff IDs")
        }
        if layers.isEmpty { return [emptyLayer] }
        guard layers.count <= maximumCount else {
            throw DocumentError(
                "the image has \(layers.count) layers, and overlay mounts at most \(maximumCount): "
                    + "rebuild it with fewer")
        }
        var steps = [LayerStep]()
        for (index, (layer, diffID)) in zip(layers, diffIDs).enumerated() {
            guard layer.mediaType.isLayer else {
                throw DocumentError("layer \(index + 1) has the unknown media type '\(layer.mediaType)'")
            }
            let parent = steps.last?.chainID
            steps.append(
                LayerStep(
                    number: index + 1, count: layers.count, descriptor: layer, diffID: diffID,
                    chainID: ChainID(of: diffID, on: parent), parent: parent))
        }
        return steps
    }
}

extension LayerStep {
    /// The layer that Docker uses for no changes: a tar with only its end-of-archive blocks. It is embedded in the
    /// descriptor, so that the layout need not contain it.
    private static let emptyLayer: LayerStep = {
        let tar = [UInt8](repeating: 0, count: 1024)
        let digest = Digest(.sha256, bytes: SHA256.hash(data: tar))
        let diffID = DiffID(digest)
        return LayerStep(
            number: 1, count: 1,
            descriptor: Descriptor(
                mediaType: .ociLayer, digest: digest, size: Int64(tar.count), data: EmbeddedData(tar)),
            diffID: diffID, chainID: ChainID(of: diffID, on: nil), parent: nil)
    }()
}
