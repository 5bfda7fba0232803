internal import Archive
internal import Kernel

extension ImageTree {
    /// Lays a layer over the tree: its names show, what it hides does not, and only a directory over a directory lets
    /// what is below through.
    ///
    /// - Parameter check: called for each directory; what it throws leaves a tree of no use.
    mutating func lay(_ layer: TreeSink, check: () throws -> Void = {}) rethrows {
        files += layer.files
        data += layer.data
        for (id, file) in layer.changed { files[Int(id.index)] = file }
        var pending = [(node: layer.tree.root, onto: Self.root)]
        while let (node, id) = pending.popLast() {
            try check()
            pending += lay(node, onto: id, number: layer.number)
        }
    }

    /// - Returns: the directories in it that are still to be laid, with those that they come onto.
    private mutating func lay(
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
        for (name, child) in node.children where node.depth > 0 || name != Whiteout.keptFolder {
            // A file of this layer stands where it only hid something.
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
