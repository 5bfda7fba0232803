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

    /// Resolves a path that the user gave. Symlinks are followed inside the root, that of the last component only if
    /// a `/` follows it. `..` is the parent of the resolved directory, as for the kernel.
    package func resolve(_ path: [UInt8]) -> Resolution {
        var parts = Self.parts(of: path)
        let followsLast = path.last == UInt8(ascii: "/")
        var items = [Item(path: [], id: Self.root)]
        var links = 0
        while let part = parts.popLast() {
            guard let name = FileName(part) else {
                // Two bytes are `..`: `parts` has neither `.` nor empty components.
                if part.count == 2, items.count > 1 { items.removeLast() }
                if part.count > FileName.maximumLength { return .missing(path: items[items.count - 1].path) }
                continue
            }
            let here = items[items.count - 1]
            let place = here.treePath.appending(name)
            guard let id = child(name, of: here.id) else {
                return .missing(path: place.components + parts.reversed().compactMap { FileName($0) })
            }
            if case .symlink(let target) = self[id].content, followsLast || !parts.isEmpty {
                links += 1
                if links > TreeLimits.symlinks { return .tooManyLinks }
                if target.first == UInt8(ascii: "/") { items.removeLast(items.count - 1) }
                parts += Self.parts(of: target)
                continue
            }
            items.append(Item(place, id: id))
        }
        let found = items[items.count - 1]
        if followsLast, !self[found.id].isDirectory { return .missing(path: found.path) }
        return .found(found)
    }

    /// Components of a path without `.`, the last one first.
    private static func parts(of path: [UInt8]) -> [ArraySlice<UInt8>] {
        path.split(separator: UInt8(ascii: "/")).filter { $0 != [UInt8(ascii: ".")] }.reversed()
    }
}
