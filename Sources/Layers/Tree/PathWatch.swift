package import Archive
package import Kernel

/// Records the entries of one layer that affect a path or a directory above it.
struct PathWatch {
    private let path: [FileName]
    /// The file at the path: that of the layers below, until an entry of this layer replaces it.
    private var file: ImageTree.FileID?
    private(set) var events = [PathEvent]()
    /// Number of the current entry, counted from 0.
    var entry: Int32 = 0

    init(_ path: [FileName], file: ImageTree.FileID?) {
        self.path = path
        self.file = file
    }

    mutating func record<Storage>(_ what: PathEvent.What, at node: DirectoryNode<Storage>) {
        if node.depth <= path.count, node.path.elementsEqual(path.prefix(node.depth)) {
            add(what, depth: node.depth)
        }
    }

    mutating func record<Storage>(
        _ what: PathEvent.What, at name: FileName, in parent: DirectoryNode<Storage>
    ) {
        let depth = parent.depth + 1
        // Compares the last name first: that is enough for most entries.
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
            events.append(
                PathEvent(what: .linked(as: EntryPath(parent.path + [name])), path: path, entry: entry))
        }
    }

    private mutating func add(_ what: PathEvent.What, depth: Int) {
        events.append(PathEvent(what: what, path: Array(path.prefix(depth)), entry: entry))
    }
}

/// An entry of a layer that affects a path or a directory above it.
package struct PathEvent: Sendable {
    package enum What: Sendable {
        case file(ImageTree.Content, ImageTree.FileID)
        case directory
        case hardLink(to: EntryPath, ImageTree.FileID)
        /// A hard link with another name, whose entry changes the metadata of the file.
        case linked(as: EntryPath)
        case whiteout
        /// The directory hides all entries of the layers below.
        case opaque
        /// A character device 0:0, which is not created: it would control overlayfs.
        case nothing
    }

    package let what: What
    /// The path itself, or a directory above it.
    package let path: [FileName]
    /// Number of the entry, counted from 0 in its layer.
    package let entry: Int32
}
