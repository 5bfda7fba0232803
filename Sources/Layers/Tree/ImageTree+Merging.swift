internal import Archive
internal import Kernel

extension ImageTree {
    /// Merges a layer onto the tree. A directory of the layer keeps the lower entries of a directory at its path; any
    /// other file replaces the lower one.
    ///
    /// - Parameter check: called for each directory. If it throws, the tree is unusable.
    mutating func merge(_ layer: TreeSink, check: () throws -> Void = {}) rethrows {
        files += layer.files
        data += layer.data
        for (id, file) in layer.changed { files[Int(id.index)] = file }
        var pending = [(node: layer.tree.root, onto: Self.root)]
        while let (node, id) = pending.popLast() {
            try check()
            pending += merge(node, onto: id, number: layer.number)
        }
    }

    /// Merges one directory.
    ///
    /// - Returns: its subdirectories that are still to be merged, with the directories of the tree at their paths.
    private mutating func merge(
        _ node: TreeSink.Node, onto id: FileID, number: Int32
    ) -> [(node: TreeSink.Node, onto: FileID)] {
        if node.isOpaque { removeChildren(of: id) }
        for name in node.whiteouts { setChild(name, of: id, to: nil) }
        if let metadata = node.metadata {
            files[Int(id.index)].metadata = metadata
            files[Int(id.index)].origin = Origin(layer: number, entry: node.storage.entry)
        }
        for (name, file) in node.storage.files { setChild(name, of: id, to: file) }
        var deeper = [(node: TreeSink.Node, onto: FileID)]()
        for (name, child) in node.children where node.depth > 0 || name != Whiteout.pseudoLinkDirectory {
            // The layer has a file of that name; the node only hides names of the layers below.
            if node.storage.files[name] != nil { continue }
            if let lower = self.child(name, of: id), self[lower].isDirectory {
                deeper.append((child, lower))
            } else if child.exists {
                let origin = Origin(layer: number, entry: child.storage.entry)
                let new = addDirectory(child.metadata ?? .implicit, origin)
                setChild(name, of: id, to: new)
                deeper.append((child, new))
            }
        }
        return deeper
    }
}
