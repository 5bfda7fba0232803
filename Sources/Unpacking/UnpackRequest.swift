package import Layers
package import Layout
package import Mounts
package import OCI
internal import Streams
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

extension UnpackRequest {
    /// Doors 1 to 4: layout, selection, manifest and config, plan.
    func open(
        _ cancellation: Cancellation, _ onEvent: @escaping @Sendable (UnpackEvent) -> Void
    ) throws(UnpackError) -> (layout: ImageLayout, candidate: Candidate, image: Image) {
        try attempt {
            let layout = try ImageLayout(
                opening: image, cancellation: cancellation, onArrival: { onEvent(.receiving($0)) })
            let candidate = try layout.select(selector)
            return (layout, candidate, try layout.load(candidate.descriptor))
        }
    }
}

/// What happens meanwhile, for whoever watches. Told from several threads.
package enum UnpackEvent: Sendable {
    /// So many bytes of an archive have come through a pipe, and the documents have not; ten times a second at most.
    case receiving(Int64)
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

/// An image of which something was made.
package protocol FinishedImage: Sendable {
    var chainID: ChainID { get }
    /// What the image asked for and did not get, a line each.
    var warnings: [String] { get }
}

/// A tree or a tar of an image.
package struct PlainResult: FinishedImage {
    package let chainID: ChainID
    package let warnings: [String]
}

/// What came of it.
package struct UnpackResult: FinishedImage {
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

extension Image {
    func plainResult(_ warnings: [String]) throws(UnpackError) -> PlainResult {
        PlainResult(chainID: try topChain(), warnings: warnings)
    }

    /// - Throws: never for an image that was loaded: those have layers.
    func topChain() throws(UnpackError) -> ChainID {
        guard let top = steps.last?.chainID else { throw UnpackError(.internal, "an image without layers") }
        return top
    }
}
