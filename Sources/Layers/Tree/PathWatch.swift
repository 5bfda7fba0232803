package import Archive
package import Kernel

/// What the entries of one layer do about one path, and about the directories that it stands in.
struct PathWatch {
    private let path: [FileName]
    /// What the layers below have there, and later this layer.
    private var file: ImageTree.FileID?
    private(set) var touches = [PathTouch]()
    /// The one that is looked at now, counted from 0.
    var entry: Int32 = 0

    init(_ path: [FileName], file: ImageTree.FileID?) {
        self.path = path
        self.file = file
    }

    mutating func note<Storage>(_ what: PathTouch.What, at node: DirectoryNode<Storage>) {
        if node.depth <= path.count, node.path.elementsEqual(path.prefix(node.depth)) {
            add(what, depth: node.depth)
        }
    }

    mutating func note<Storage>(
        _ what: PathTouch.What, at name: FileName, in parent: DirectoryNode<Storage>
    ) {
        let depth = parent.depth + 1
        // Most entries go no further than this.
        if depth <= path.count, path[parent.depth] == name,
            parent.path.elementsEqual(path.prefix(parent.depth))
        {
            switch what {
            case .file(_, let id) where depth == path.count, .hardLink(_, let id) where depth == path.count:
                file = id
            default: break
            }
            add(what, depth: depth)
        } else if case .hardLink(_, let id) = what, id == file {
            touches.append(
                PathTouch(what: .linked(as: EntryPath(parent.path + [name])), path: path, entry: entry))
        }
    }

    private mutating func add(_ what: PathTouch.What, depth: Int) {
        touches.append(PathTouch(what: what, path: Array(path.prefix(depth)), entry: entry))
    }
}

/// One entry of a layer that is about a path, or about a directory that it stands in.
package struct PathTouch: Sendable {
    package enum What: Sendable {
        case file(ImageTree.Content, ImageTree.FileID)
        case directory
        case hardLink(to: EntryPath, ImageTree.FileID)
        /// Another name of the same file, whose entry speaks about the file.
        case linked(as: EntryPath)
        case whiteout
        /// Nothing of the layers below shows in the directory.
        case opaque
        /// What is not made: it would steer overlay.
        case nothing
    }

    package let what: What
    /// What the entry is about: the path itself, or a directory that it stands in.
    package let path: [FileName]
    /// Counted from 0 in its layer.
    package let entry: Int32
}
