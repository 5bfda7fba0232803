package import Kernel
package import OCI
internal import TreeRecords

/// A snapshot as the store describes it (containerd `snapshots.Info`).
package struct SnapshotInfo: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable, Decodable {
        case view, active, committed
    }

    /// The name of its directory: small, and never used for another snapshot that was committed.
    package let id: Int64
    /// Its key while it is active or a view, its name once it is committed.
    package let name: String
    package let kind: Kind
    package let parent: String?
    /// Its parent's `id`. Names are compared by bytes, which Swift's `==` does not do: IDs are safe keys.
    package let parentID: Int64?
    package let owner: Owner
    /// The chain that this program has verified it to hold; never derived from the name.
    package let verifiedChain: ChainID?
    /// The digest by which the kernel protects its image (fs-verity, SHA-256); nil if it does not.
    package let verityDigest: Digest?
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

    /// The unpacker itself: layers of images. Before the commit a layer belongs to its run.
    package static let images = Owner(rawValue: "images")
    /// A user who asked for a snapshot by name, e.g. with `--rw`. Recovery and `prune` never remove it.
    package static let user = Owner(rawValue: "user")
}

/// The space of a snapshot without its parent (containerd `snapshots.Usage`).
package struct SnapshotUsage: Sendable, Equatable {
    /// Allocated bytes.
    package let size: Int64
    package let inodes: Int64

    package init(size: Int64, inodes: Int64) {
        self.size = size
        self.inodes = inodes
    }

    package static let none = SnapshotUsage(size: 0, inodes: 0)

    init(_ tree: TreeUsage) { self.init(size: tree.size, inodes: tree.inodes) }

    /// Measures the tree of a snapshot, as `TreeUsage` does.
    init(of tree: Directory, notIn other: Directory? = nil) throws(SyscallFailure) {
        self.init(try TreeUsage(of: tree, notIn: other))
    }
}

/// A snapshot that is being written. Its owner commits or abandons it: it does neither by itself.
package struct ActiveSnapshot: ~Copyable, Sendable {
    package let id: Int64
    package let key: String
    /// The ID of the parent that it was prepared on.
    let parent: Int64?
    private let tree: SnapshotTree
    /// The name of the committed tree.
    private let committedTree: FileName

    init(_ made: MadeSnapshot, tree: SnapshotTree, committedTree: FileName) {
        self.committedTree = committedTree
        id = made.id
        key = made.key
        parent = made.parents.first
        self.tree = tree
    }

    /// The root of its tree, or the directory for its image. The writer closes it, and all that it has opened below,
    /// before the commit.
    package var directory: Directory { tree.directory }

    /// Makes the empty file for the image of its layer, open for reading and writing.
    ///
    /// - Precondition: the snapshotter's content is `.image`.
    package func makeImage() throws(SyscallFailure) -> File {
        try directory.openOrCreateFile(committedTree, mode: 0o600)
    }

    /// Opens the image for reading.
    package func openImage() throws -> File { try directory.openFile(committedTree) }

    func flush() throws(SyscallFailure) { try tree.flush() }
}
