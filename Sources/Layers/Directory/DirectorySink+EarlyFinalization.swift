internal import Archive
internal import Kernel

/// Finalization of directories before the end of the layer, which bounds the memory for any number of directories.
extension DirectorySink {
    /// Finalizes directories and drops them from the tree: those that hide nothing, and that an entry has listed or the
    /// layers below do not have. Their whole state is on the disk then.
    mutating func finalizeEarly() throws {
        hasFinalizedEarly = true
        try finalizeEarly(over: lowerLayers.view?.root)
        if !seesLower, tree.count > Self.waitThreshold {
            let lower = try lowerView()
            try finalizeEarly(over: lower.root)
        }
        earlyFinalizationPoint = tree.weight + earlyFinalizationInterval
    }

    /// Number of tracked directories, most of them implicit, above which the sink waits for the layers below: about as
    /// many as `Budget.Limits.defaultMemory` holds.
    private static let waitThreshold = 150_000

    /// - Parameter below: the root of the layers below; nil if they are not known.
    private mutating func finalizeEarly(over below: MergedDirectory?) throws {
        var walk = NodeWalk(tree.root, over: below)
        while let step = try walk.next() {
            guard case .leave(let node, let lower) = step, let name = node.name, let parent = node.parent
            else {
                continue
            }
            try poll()
            let isOwn = seesLower && lower == nil
            guard node.canBeFinalized, let metadata = node.metadata ?? (isOwn ? .implicit : nil) else {
                continue
            }
            let directory = try open(node)
            do {
                try writer.finishDirectory(
                    directory, metadata, nil, format.marks, entry: EntryPath(walk.path))
            } catch {
                // A later entry may replace the metadata that cannot be set; otherwise the final pass fails.
                try directory.makePlain()
                continue
            }
            node.storage.handle.clear()
            parent.children[name] = nil
            try tree.drop(node)
        }
    }

    mutating func reopenDirectory(_ name: FileName, in parent: Node) throws -> Metadata? {
        guard hasFinalizedEarly else { return nil }
        let above = try open(parent)
        guard try above.status(of: name)?.isDirectory == true else { return nil }
        let directory = try above.open(name)
        let metadata = try directory.metadata()
        try directory.makePlain()
        return metadata
    }
}

extension Directory {
    /// Removes the owner, mode and attributes that new files in the directory would inherit.
    func makePlain() throws(SyscallFailure) {
        try file.removeFileAttributes()
        try file.setOwner(uid: 0, gid: 0)
        try file.setMode(0o700)
    }
}

extension DirectoryNode {
    fileprivate var canBeFinalized: Bool {
        exists && children.isEmpty && !isOpaque && whiteouts.isEmpty
    }
}

extension Metadata {
    /// Bytes of memory of the extended attributes.
    var attributesSize: Int64 {
        extendedAttributes.reduce(0) { $0 + 96 + Int64($1.name.bytes.count + $1.value.count) }
    }
}
