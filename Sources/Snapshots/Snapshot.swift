package import Kernel
package import OCI

/// What the store knows of a snapshot (containerd `snapshots.Info`).
package struct SnapshotInfo: Sendable, Equatable {
    package enum Kind: String, Sendable {
        case view, active, committed
    }

    /// The name of its directory: small, never used again.
    package let id: Int64
    /// Its key while it is active or a view, its name once it is committed.
    package let name: String
    package let kind: Kind
    package let parent: String?
    package let owner: Owner
    /// The chain that it is known to hold, because this program verified it; never told by the name.
    package let verifiedChain: ChainID?
    package let created: Date
    package let updated: Date

    /// Nanoseconds since 1970-01-01 UTC.
    package typealias Date = Int64
}

/// Who made a snapshot and may remove it.
package struct Owner: Hashable, Sendable, RawRepresentable {
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }

    /// The unpacker itself: layers of images.
    package static let images = Owner(rawValue: "images")
    /// Somebody who asked for a snapshot by name, e.g. with `--rw`. Never reaped.
    package static let user = Owner(rawValue: "user")
}

/// A snapshot that can be written to. Commit it or remove it: it does neither by itself.
package struct ActiveSnapshot: ~Copyable, Sendable {
    package let id: Int64
    package let key: String
    /// Where its tree is written, anchored.
    package let directory: Directory
}

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
