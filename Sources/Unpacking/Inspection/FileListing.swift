internal import Archive
package import Kernel
package import Layers

/// The files of an image that `unpack ls` lists: the content of a directory, a file itself, or everything below a path.
package struct FileListing {
    /// The columns of one file.
    package struct Row {
        /// As in the first column of `ls -l`, with a `+` if there are extended attributes.
        package let permissions: String
        /// `UID:GID`.
        package let owner: String
        /// In bytes, or a device's numbers.
        package let size: String
        package let time: UTC
        /// Escaped; absolute if everything below a path is listed.
        package let name: String
        /// Of a symlink, escaped.
        package let target: String?
        package let hasAttributes: Bool
    }

    private let tree: ImageTree
    private let start: ImageTree.Item
    private let isRecursive: Bool

    /// - Parameters:
    ///   - path: bytes of a path in the image. A symlink in its last component is followed only if it ends with a slash.
    ///   - typedPath: the path as the user typed it, for messages.
    /// - Throws: `.notFound`; `.data` for too many symlinks.
    package init(
        of path: [UInt8], typed typedPath: String, in tree: ImageTree, isRecursive: Bool
    ) throws(UnpackError) {
        self.tree = tree
        self.isRecursive = isRecursive
        start = try tree.item(at: path, typed: typedPath, followsLast: false)
    }

    /// Calls `body` with each file in order: all files of a hostile image do not fit in memory.
    package func forEachRow(_ body: (Row) throws -> Void) throws {
        try forEach { item, name in
            let file = tree[item.id]
            let metadata = file.metadata
            let target: String? = if case .symlink(let target) = file.content { escaped(target) } else { nil }
            try body(
                Row(
                    permissions: file.content.permissions(metadata), owner: "\(metadata.uid):\(metadata.gid)",
                    size: file.content.sizeColumn, time: UTC(metadata.modificationTime), name: name,
                    target: target, hasAttributes: !metadata.extendedAttributes.isEmpty))
        }
    }

    /// As `forEachRow`, with everything that is known of a file.
    package func forEachDocument(_ body: (FileDocument) throws -> Void) throws {
        let links = tree.linkCounts()
        try forEach { item, _ in
            try body(FileDocument(tree[item.id], at: item.path, links: links[item.id]))
        }
    }

    private func forEach(_ body: (ImageTree.Item, _ name: String) throws -> Void) throws {
        if isRecursive {
            try tree.forEach(from: start) { try body($0, absolutePath($0.path)) }
        } else if tree[start.id].isDirectory {
            for (name, id) in tree.children(of: start.id) {
                try body(ImageTree.Item(start.treePath.appending(name), id: id), name.description)
            }
        } else {
            try body(start, absolutePath(start.path))
        }
    }
}

extension ImageTree {
    /// The item at a path of the image.
    ///
    /// - Parameters:
    ///   - typedPath: the path as the user typed it, for messages.
    ///   - followsLast: as that of `resolve`.
    /// - Throws: `.notFound`; `.data` for too many symlinks.
    func item(at path: [UInt8], typed typedPath: String, followsLast: Bool) throws(UnpackError) -> Item {
        switch resolve(path, followsLast: followsLast) {
        case .found(let item): return item
        case .missing(let place):
            throw UnpackError(
                .notFound, "the image has no '\(absolutePath(place))'",
                hint: "`unpack why IMAGE PATH` shows whether a layer had it")
        case .tooManyLinks:
            throw UnpackError(.data, "too many symlinks on the path '\(escaped(typedPath.utf8))'")
        }
    }
}
