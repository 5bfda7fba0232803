package import OCI

/// An image that was unpacked. It keeps its chain of snapshots from being removed.
package struct ImageRecord: Sendable, Equatable {
    /// Its names in image layouts, sorted; empty if it has none.
    package let names: [String]
    package let manifest: Digest
    package let mediaType: MediaType
    package let platform: Platform
    package let topChain: ChainID
    package let layers: [Layer]
    /// When it was recorded; nil before that.
    package let created: SnapshotInfo.Date?
    /// When it was last unpacked or mounted, to the minute; nil before it is recorded.
    package let used: SnapshotInfo.Date?

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

    /// The documents of an image, byte for byte.
    package struct Documents: Sendable, Equatable {
        package let manifest: String
        package let config: String

        package init(manifest: String, config: String) {
            self.manifest = manifest
            self.config = config
        }
    }

    package init(
        names: [String], manifest: Digest, mediaType: MediaType, platform: Platform, topChain: ChainID,
        layers: [Layer], created: SnapshotInfo.Date? = nil, used: SnapshotInfo.Date? = nil
    ) {
        self.names = names
        self.manifest = manifest
        self.mediaType = mediaType
        self.platform = platform
        self.topChain = topChain
        self.layers = layers
        self.created = created
        self.used = used
    }

    /// Whether this record makes another one of the same image superfluous.
    func includes(_ other: ImageRecord) -> Bool {
        manifest == other.manifest && mediaType == other.mediaType && platform == other.platform
            && topChain == other.topChain && layers == other.layers && Set(other.names).isSubset(of: names)
    }
}
