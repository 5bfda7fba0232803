internal import Archive
internal import Kernel

/// Directories that need not be remembered: memory is constant however many a layer has.
extension LayerApplier {
    /// Completes directories before the end of the layer and forgets them, as the disk says all about them from then
    /// on: those that hide nothing and that an entry has listed, or the layers below do not have.
    mutating func settle() throws {
        last = nil
        hasSettled = true
        try settle(over: lower?.root)
        if lower == nil, nodes > Self.worthWaiting {
            let lower = try openLower()
            try settle(over: lower.root)
        }
        settlingPoint = weight + settlingInterval
    }

    /// What is remembered, in directories: attributes count for as many as take their place.
    var weight: Int { nodes + Int(attributes / DirectoryNode.cost) }

    /// Directories, most of them implicit, for which it is better to wait for the layers below: half of what
    /// fits into the memory of a `Budget`.
    private static let worthWaiting = 150_000

    /// - Parameter below: the lower layers' root; nil if they are not known.
    private mutating func settle(over below: MergedDirectory?) throws {
        var walk = NodeWalk(tree.root, over: below)
        while let step = try walk.next() {
            guard case .leave(let node, let lower) = step, let name = node.name, let parent = node.parent
            else {
                continue
            }
            try poll()
            let isOwn = self.lower != nil && lower == nil
            guard node.canBeSettled, let metadata = node.metadata ?? (isOwn ? .implicit : nil) else {
                continue
            }
            let directory = try tree.open(node)
            do {
                try writer.finishDirectory(directory, metadata, nil, marks, entry: EntryPath(walk.path))
            } catch {
                // What cannot be set may be replaced by a later entry, and is refused at the end if it is not.
                try directory.makePlain()
                continue
            }
            tree.close(node)
            parent.children[name] = nil
            try forget(node)
        }
    }

    /// Remembers a directory of this layer again, and takes from it what files in it would inherit.
    mutating func unsettle(_ name: FileName, in parent: DirectoryNode) throws -> DirectoryNode {
        let node = try addNode(name, in: parent, exists: true)
        let directory = try tree.open(node)
        try describe(node, try directory.metadata())
        try directory.makePlain()
        return node
    }
}

extension Directory {
    /// As it was made: with nothing that files in it would inherit.
    func makePlain() throws(SyscallFailure) {
        try file.removeFileAttributes()
        try file.setOwner(uid: 0, gid: 0)
        try file.setMode(0o700)
    }
}

extension DirectoryNode {
    fileprivate var canBeSettled: Bool {
        exists && children.isEmpty && !isOpaque && whiteouts.isEmpty
    }
}

extension Metadata {
    /// Bytes that the extended attributes take in memory.
    var attributesSize: Int64 {
        extendedAttributes.reduce(0) { $0 + 96 + Int64($1.name.bytes.count + $1.value.count) }
    }
}
