internal import Kernel
package import Layers
internal import Mounts
internal import OCI
package import Snapshots

/// A path in which two trees differ, as JSON.
package struct ChangeDocument: Encodable {
    /// `A` for a file that only the new tree has, `D` for one that only the old tree has, `M` for one that differs.
    package let change: String
    /// Absolute, escaped for output.
    package let path: String
    /// The properties that differ.
    package let what: [String]
    /// Nil if documents of the files are not wanted.
    package let old: FileDocument?
    package let new: FileDocument?
}

/// The differences between two trees.
package struct TreeDifferences {
    private let old: ImageTree
    private let new: ImageTree
    private let comparesTimes: Bool

    init(_ old: ImageTree, _ new: ImageTree, comparesTimes: Bool) {
        self.old = old
        self.new = new
        self.comparesTimes = comparesTimes
    }

    /// Calls `body` with each difference in order.
    ///
    /// - Parameters:
    ///   - describesFiles: whether the files are described as well.
    ///   - check: throws to end the comparison.
    package func forEach(
        describesFiles: Bool, check: () throws -> Void, _ body: (ChangeDocument) throws -> Void
    ) throws {
        let links = describesFiles ? (old: old.linkCounts(), new: new.linkCounts()) : nil
        try TreeChanges.compare(old, new, comparesTimes: comparesTimes, check: check) { change in
            func document(
                _ id: ImageTree.FileID?, in tree: ImageTree, _ links: ImageTree.LinkCounts?
            ) -> FileDocument? {
                guard let id, let links else { return nil }
                return FileDocument(tree[id], at: change.path, links: links[id])
            }
            try body(
                ChangeDocument(
                    change: change.kind.letter, path: absolutePath(change.path),
                    what: change.properties.map(\.rawValue), old: document(change.old, in: old, links?.old),
                    new: document(change.new, in: new, links?.new)))
        }
    }
}

extension TreeChange.Kind {
    fileprivate var letter: String {
        switch self {
        case .added: "A"
        case .deleted: "D"
        case .modified: "M"
        }
    }
}

/// A tree that is compared.
package enum ComparedTree: Sendable {
    case image(OpenedImage)
    /// A committed or an active snapshot.
    case snapshot(key: String, SnapshotStore)

    /// What a name means in a store; of an image, its top layer.
    package init(_ name: StoredName, in store: SnapshotStore) {
        switch name {
        case .snapshot(let snapshot): self = .snapshot(key: snapshot.name, store)
        case .image(let image): self = .snapshot(key: image.topChain.description, store)
        }
    }
}

extension ImageInspector {
    /// Reads two trees. The lower layers that two images have in common are read once.
    package func differences(
        _ old: ComparedTree, _ new: ComparedTree, comparesTimes: Bool
    ) throws(UnpackError) -> TreeDifferences {
        if case .image(let old) = old, case .image(let new) = new {
            let trees = try trees(of: old, new)
            return TreeDifferences(trees.0, trees.1, comparesTimes: comparesTimes)
        }
        return TreeDifferences(
            try tree(of: old, digests: true), try tree(of: new, digests: true), comparesTimes: comparesTimes)
    }

    /// - Parameter digests: whether the digests of the files are computed, for a comparison.
    package func tree(of compared: ComparedTree, digests: Bool) throws(UnpackError) -> ImageTree {
        switch compared {
        case .image(let opened): try tree(of: opened, digests: digests)
        case .snapshot(let key, let store):
            try withTree(of: key, in: store) { root in
                try ImageTree(walking: root, digests: digests) { try cancellation.check() }
            }
        }
    }

    /// Calls `body` with the tree of a snapshot, which is mounted without being attached to a directory.
    func withTree(
        of key: String, in store: SnapshotStore, _ body: (Directory) throws -> ImageTree
    ) throws(UnpackError) -> ImageTree {
        try attempt {
            let isCommitted = try store.stat(key).kind == .committed
            let mounts = try isCommitted ? store.readOnlyMounts(of: key) : store.mounts(of: key)
            guard let mount = mounts.last, mounts.count == 1 else {
                throw UnpackError(
                    .internal, "the snapshot '\(escaped(key.utf8))' has \(mounts.count) mounts")
            }
            let tree = try mount.openTree()
            return try withExtendedLifetime(tree) { try body(tree.root) }
        }
    }
}
