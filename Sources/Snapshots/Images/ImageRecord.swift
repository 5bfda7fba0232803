package import OCI

/// An image that was unpacked. It keeps its chain of snapshots from being removed.
package struct ImageRecord: Sendable, Equatable {
    /// Its name in the image layout.
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
            self.init(
                digest: step.descriptor.digest, diffID: step.diffID, chainID: step.chainID,
                size: step.descriptor.size)
        }

        init(digest: Digest, diffID: DiffID, chainID: ChainID, size: Int64) {
            self.digest = digest
            self.diffID = diffID
            self.chainID = chainID
            self.size = size
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
