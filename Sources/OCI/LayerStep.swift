internal import Crypto

/// One step of an unpack: this layer on top of that chain.
package struct LayerStep: Hashable, Sendable {
    /// Position from 1, and how many there are: `layer 3 of 7`.
    package let number: Int
    package let count: Int
    package let descriptor: Descriptor
    package let diffID: DiffID
    package let chainID: ChainID
    /// Nil for the lowest layer.
    package let parent: ChainID?

    /// How messages name the layer.
    package var name: String { "layer \(number) of \(count) (\(descriptor.digest.short))" }
}

extension LayerStep {
    /// As many lower layers as overlay takes (kernel: fs/overlayfs/params.c, OVL_MAX_STACK).
    package static let maximumCount = 500

    /// The steps of an image, lowest first, at least one (OCI image spec, config.md, "Layer ChainID"). An image without layers
    /// is an empty root file system: its one step is the empty layer.
    ///
    /// - Throws: `DocumentError` if there are not as many layers as diff IDs, or one that is no file-system layer.
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
    /// The end of a tar and nothing before it, which is what Docker has for a layer without changes. No layout needs to hold it.
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
