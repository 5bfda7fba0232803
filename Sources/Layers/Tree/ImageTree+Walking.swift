internal import Archive
package import Kernel

extension ImageTree {
    /// One name of the tree.
    package struct Item: Sendable {
        package let treePath: TreePath
        package let id: FileID

        package init(_ treePath: TreePath, id: FileID) {
            self.treePath = treePath
            self.id = id
        }

        package init(path: [FileName], id: FileID) { self.init(TreePath(path), id: id) }

        /// From the root down; empty for the root.
        package var path: [FileName] { treePath.components }
    }

    /// Calls `body` for each name of a subtree: each directory before its entries, names in the order of their bytes.
    ///
    /// - Parameter start: the root of the subtree, which is the first item.
    package func forEach(
        from start: Item = Item(path: [], id: root), _ body: (Item) throws -> Void
    ) rethrows {
        var pending = [start]
        while let item = pending.popLast() {
            try body(item)
            guard self[item.id].isDirectory else { continue }
            pending += children(of: item.id).reversed().map {
                Item(item.treePath.appending($0.name), id: $0.id)
            }
        }
    }

    /// Number of names of each file.
    package struct LinkCounts: Sendable {
        private var counts: [Int32]

        init(of tree: ImageTree, check: () throws -> Void) rethrows {
            counts = [Int32](repeating: 0, count: tree.files.count)
            // The order does not matter here, and sorting takes time.
            var pending = [ImageTree.root]
            while let directory = pending.popLast() {
                try check()
                for id in tree.listing(of: directory).values {
                    counts[Int(id.index)] += 1
                    if tree[id].isDirectory { pending.append(id) }
                }
            }
        }

        package subscript(_ id: FileID) -> Int { Int(counts[Int(id.index)]) }
    }

    /// - Parameter check: called for each directory.
    package func linkCounts(check: () throws -> Void) rethrows -> LinkCounts {
        try LinkCounts(of: self, check: check)
    }

    package func linkCounts() -> LinkCounts { linkCounts {} }

    // MARK: Resolving

    /// Result of resolving a path.
    package enum Resolution: Sendable {
        case found(Item)
        /// - Parameter path: the path with all symlinks before the missing name resolved.
        case missing(path: [FileName])
        case tooManyLinks

        /// The resolved path; nil for too many symlinks.
        package var path: [FileName]? {
            switch self {
            case .found(let item): item.path
            case .missing(let path): path
            case .tooManyLinks: nil
            }
        }
    }

    /// Resolves a path. Symlinks are followed inside the root. `..` is the parent of the resolved directory, as for the
    /// kernel.
    ///
    /// - Parameter followsLast: whether a symlink as the last component is followed. It always is if a `/` ends the
    ///   path, which must then be that of a directory.
    package func resolve(_ path: [UInt8], followsLast: Bool = false) -> Resolution {
        let isDirectory = path.last == UInt8(ascii: "/")
        var rest = PathComponents(path)
        var items = [Item(path: [], id: Self.root)]
        while let component = rest.next() {
            let here = items[items.count - 1]
            switch component {
            case .parent: if items.count > 1 { items.removeLast() }
            case .tooLong: return .missing(path: here.path)
            case .name(let name):
                let next = here.treePath.appending(name)
                guard let id = child(name, of: here.id) else {
                    return .missing(path: next.components + rest.names)
                }
                guard case .symlink(let target) = self[id].content,
                    followsLast || isDirectory || !rest.isEmpty
                else {
                    items.append(Item(next, id: id))
                    continue
                }
                guard let target = rest.follow(target) else { return .tooManyLinks }
                if target.isAbsolute { items.removeLast(items.count - 1) }
            }
        }
        let found = items[items.count - 1]
        if isDirectory, !self[found.id].isDirectory { return .missing(path: found.path) }
        return .found(found)
    }
}
