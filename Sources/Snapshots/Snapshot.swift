package import Kernel
package import OCI

/// What the store knows of a snapshot (containerd `snapshots.Info`).
package struct SnapshotInfo: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable, Decodable {
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
    package let labels: [String: String]
    package let created: Date
    package let updated: Date

    /// Nanoseconds since 1970-01-01 UTC.
    package typealias Date = Int64
}

/// Who made a snapshot and may remove it.
package struct Owner: Hashable, Sendable, RawRepresentable {
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }

    /// The unpacker itself: layers of images. What it has not committed is its run's.
    package static let images = Owner(rawValue: "images")
    /// Somebody who asked for a snapshot by name, e.g. with `--rw`. Never reaped.
    package static let user = Owner(rawValue: "user")
}

/// What a snapshot takes, without its parent (containerd `snapshots.Usage`).
package struct SnapshotUsage: Sendable, Equatable {
    /// Bytes that are allocated.
    package let size: Int64
    package let inodes: Int64

    package init(size: Int64, inodes: Int64) {
        self.size = size
        self.inodes = inodes
    }

    package static let none = SnapshotUsage(size: 0, inodes: 0)
}

/// A snapshot that is being written. Commit it or abandon it: it does neither by itself.
package struct ActiveSnapshot: ~Copyable, Sendable {
    package let id: Int64
    package let key: String
    private let tree: SnapshotTree

    init(id: Int64, key: String, tree: SnapshotTree) {
        self.id = id
        self.key = key
        self.tree = tree
    }

    /// Where its tree is written, anchored. Let go of it, and of all that was opened below, before the commit.
    package var directory: Directory { tree.directory }

    func flush() throws(SyscallFailure) { try tree.flush() }
}
