internal import Kernel
internal import Layers
package import Layout
package import Mounts
package import OCI
package import Snapshots
package import SystemPackage

/// What to unpack, where to, and with which limits.
package struct UnpackRequest: Sendable {
    package let image: ImageSource
    package let selector: Selector
    package let root: FilePath
    package let snapshotter: String
    package let backend: BackendSettings
    package let durability: Durability
    /// The key of an active snapshot for a writable mount; nil for a read-only mount.
    package let writableKey: String?
    /// The bundle that the active snapshot belongs to, if it is made; nil for none.
    package let bundle: BundleDirectory?
    package let limits: Limits
    /// How many layers are unpacked in parallel, at least 1.
    package let jobs: Int

    /// Limits for all layers together.
    package struct Limits: Sendable {
        /// The default limit of entries, twenty times those of the largest images.
        package static let entries: Int64 = 20_000_000

        /// Bytes of file content; nil for the free space of the target, or for no limit if a tar is written.
        package let bytes: Int64?
        package let entries: Int64
        /// The maximum of uncompressed bytes per compressed byte; nil for no limit.
        package let ratio: Int64?

        package init(bytes: Int64? = nil, entries: Int64 = entries, ratio: Int64? = nil) {
            self.bytes = bytes
            self.entries = entries
            self.ratio = ratio
        }

        /// Returns the budget for layers.
        ///
        /// - Parameters:
        ///   - compressed: bytes of their blobs; nil for no limit of the uncompressed bytes.
        ///   - freeBytes: of the file system that is written to, the limit unless the user has set one; nil if none is
        ///     written to.
        func budget(compressed: Int64?, freeBytes: Int64? = nil) -> Budget {
            var uncompressed = Int64.max
            if let compressed, let ratio {
                let (product, overflows) = compressed.multipliedReportingOverflow(by: ratio)
                if !overflows { uncompressed = product }
            }
            return Budget(
                Budget.Limits(
                    bytes: bytes ?? freeBytes ?? .max, isFreeSpace: bytes == nil && freeBytes != nil,
                    entries: entries, uncompressed: uncompressed))
        }
    }

    package enum Durability: String, Sendable, CaseIterable {
        /// syncfs(2) before the image is recorded.
        case fs
        /// No sync: the result is not trusted after the next boot.
        case none
    }

    package init(
        image: ImageSource, selector: Selector, root: FilePath, snapshotter: String,
        backend: BackendSettings = BackendSettings(), durability: Durability, writableKey: String?,
        bundle: BundleDirectory? = nil, limits: Limits = Limits(), jobs: Int = 1
    ) {
        self.image = image
        self.selector = selector
        self.root = root
        self.snapshotter = snapshotter
        self.backend = backend
        self.durability = durability
        self.writableKey = writableKey
        self.bundle = bundle
        self.limits = limits
        self.jobs = jobs
    }
}

extension UnpackRequest {
    /// Stages 1 to 4: layout, selection, manifest and config, plan.
    func open(
        _ cancellation: Cancellation, _ onEvent: @escaping @Sendable (UnpackEvent) -> Void
    ) throws(UnpackError) -> (layout: ImageLayout, candidate: Candidate, image: Image) {
        try attempt {
            let layout = try ImageLayout(
                opening: image, cancellation: cancellation, onProgress: { onEvent(.receiving($0)) })
            let candidate = try layout.select(selector)
            return (layout, candidate, try layout.load(candidate.descriptor))
        }
    }
}

/// Progress of the work. Reported from several threads.
package enum UnpackEvent: Sendable {
    /// Bytes of an archive that have arrived through a pipe, while its documents are still missing; at most ten times a
    /// second.
    case receiving(Int64)
    /// The steps, and the chains that the store already has.
    case planned([LayerStep], cached: Set<ChainID>)
    /// Another process is unpacking this layer.
    case waiting(LayerStep)
    case started(LayerStep)
    /// Bytes of the layer's blob that have been read.
    case progressed(LayerStep, Int64)
    /// Something in the layer was not applied, by a documented exception.
    case warned(LayerStep, message: String)
    case committed(LayerStep)
    /// The layer was read and verified, by an inspection or for a tar.
    case read(LayerStep)
    case syncing
}

/// The result of a command that has unpacked or converted an image.
package protocol UnpackedImage: Sendable {
    var chainID: ChainID { get }
    /// What of the image could not be reproduced, one line each.
    var warnings: [String] { get }
}

/// The result of `TreeOutput` or `TarOutput`.
package struct OutputResult: UnpackedImage {
    package let chainID: ChainID
    package let warnings: [String]
}

/// The result of `Unpacker`.
package struct UnpackResult: UnpackedImage {
    package let image: Image
    package let reference: String?
    package let platform: Platform
    package let chainID: ChainID
    package let mounts: [Mount]
    package let layers: [Layer]
    package let warnings: [String]

    package struct Layer: Sendable {
        package let step: LayerStep
        /// The directory of the layer's snapshot.
        package let path: FilePath
        /// Whether the store had the layer before.
        package let isCached: Bool
    }
}

extension Image {
    func outputResult(_ warnings: [String]) throws(UnpackError) -> OutputResult {
        OutputResult(chainID: try topChain(), warnings: warnings)
    }

    /// The chain ID of the whole image.
    ///
    /// - Throws: `.internal` for an image without steps, which `ImageLayout.load` never returns.
    func topChain() throws(UnpackError) -> ChainID {
        guard let top = steps.last?.chainID else { throw UnpackError(.internal, "an image without layers") }
        return top
    }
}
