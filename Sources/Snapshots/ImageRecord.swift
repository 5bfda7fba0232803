package import OCI

/// An image that was unpacked; it keeps its chain of snapshots alive.
package struct ImageRecord: Sendable, Equatable {
    /// The layout's name for it, if it has one.
    package let reference: String?
    package let manifest: Digest
    package let mediaType: MediaType
    package let platform: Platform
    package let topChain: ChainID
    package let layers: [Layer]

    package struct Layer: Sendable, Equatable {
        package let digest: Digest
        package let diffID: DiffID
        package let chainID: ChainID
        /// Bytes of the blob.
        package let size: Int64

        package init(_ step: LayerStep) {
            digest = step.descriptor.digest
            diffID = step.diffID
            chainID = step.chainID
            size = step.descriptor.size
        }
    }

    package init(
        reference: String?, manifest: Digest, mediaType: MediaType, platform: Platform, topChain: ChainID,
        layers: [Layer]
    ) {
        self.reference = reference
        self.manifest = manifest
        self.mediaType = mediaType
        self.platform = platform
        self.topChain = topChain
        self.layers = layers
    }
}
