package import Layers
package import Layout
package import Mounts
package import OCI
package import SystemPackage

/// What to unpack, and where to.
package struct UnpackRequest: Sendable {
    package let image: ImageSource
    package let selector: Selector
    package let root: FilePath
    package let snapshotter: String
    package let durability: Durability
    /// The key of an active snapshot to mount writable; nil is read-only.
    package let writableKey: String?
    package let limits: Limits
    /// Layers that are read and applied at once, at least 1.
    package let jobs: Int

    /// What the layers may take, all together.
    package struct Limits: Sendable {
        /// Twenty times what the largest images have.
        package static let entries: Int64 = 20_000_000

        /// Bytes of file content; nil is what the store has free.
        package let bytes: Int64?
        package let entries: Int64
        /// How many times its compressed size the image may unpack to; nil for any.
        package let ratio: Int64?

        package init(bytes: Int64? = nil, entries: Int64 = entries, ratio: Int64? = nil) {
            self.bytes = bytes
            self.entries = entries
            self.ratio = ratio
        }
    }

    package enum Durability: String, Sendable, CaseIterable {
        /// One syncfs(2) before the image is recorded.
        case fs
        /// Not beyond this boot.
        case none
    }

    package init(
        image: ImageSource, selector: Selector, root: FilePath, snapshotter: String, durability: Durability,
        writableKey: String?, limits: Limits = Limits(), jobs: Int = 1
    ) {
        self.image = image
        self.selector = selector
        self.root = root
        self.snapshotter = snapshotter
        self.durability = durability
        self.writableKey = writableKey
        self.limits = limits
        self.jobs = jobs
    }
}

/// What happens meanwhile, for whoever watches. Told from several threads.
package enum UnpackEvent: Sendable {
    /// The steps, and which of them are there already.
    case planned([LayerStep], cached: Set<ChainID>)
    /// Another process unpacks this layer.
    case waiting(LayerStep)
    case started(LayerStep)
    /// Bytes of the layer's blob that were read so far.
    case progressed(LayerStep, Int64)
    case warned(LayerStep, LayerWarning)
    case committed(LayerStep)
    /// The layer was read and verified, by who only looks at it.
    case read(LayerStep)
    case syncing
}

/// What came of it.
package struct UnpackResult: Sendable {
    package let image: Image
    package let reference: String?
    package let platform: Platform
    package let chainID: ChainID
    package let mounts: [Mount]
    package let layers: [Layer]
    package let warnings: [String]

    package struct Layer: Sendable {
        package let step: LayerStep
        /// The directory with the layer's own tree.
        package let path: FilePath
        /// Whether it was there before.
        package let isCached: Bool
    }
}
