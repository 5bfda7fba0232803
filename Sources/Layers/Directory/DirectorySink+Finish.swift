internal import Archive
internal import Kernel
internal import Streams

/// Completion of a layer.
extension DirectorySink {
    /// Writes the whiteouts that hide something, and finalizes every directory, deepest first.
    ///
    /// - Throws: errors of `lowerView`, for which it waits.
    mutating func finish() throws {
        directories.close()
        lowerLayers.close()
        let lower = try lowerView()
        if try has(Whiteout.pseudoLinkDirectory, in: tree.root) {
            tree.root.children[Whiteout.pseudoLinkDirectory] = nil
            try open(tree.root).removeTree(Whiteout.pseudoLinkDirectory, check: cancellation.check)
        }
        try completeLinkGroups(of: lower)
        var walk = NodeWalk(tree.root, over: lower.isEmpty ? nil : lower.root)
        var states = [DirectoryState]()
        while let step = try walk.next() {
            try poll()
            switch step {
            case .enter(let node, let lower):
                // The layer has a file or a whiteout of that name; the node only hides names of the layers below.
                if !node.exists, let name = node.name, let parent = node.parent, try has(name, in: parent) {
                    walk.skip()
                    continue
                }
                let replacesLower = node.name.map { states.last?.replacing.contains($0) == true } ?? false
                states.append(try writeWhiteouts(in: node, lower, replacesLower: replacesLower))
            case .leave(let node, let lower):
                if let state = states.popLast() { try finish(node, at: walk.path, lower, state) }
            }
        }
    }

    /// Completes the layer without the access control lists that name accounts, and reads the accounts of the merged
    /// tree.
    ///
    /// - Throws: as `finish`.
    mutating func readAccounts() throws -> ImageAccounts {
        try finish()
        let view = try lowerView().adding(topLayer: try open(tree.root))
        func contents(_ path: String) throws -> [UInt8] {
            try view.contents(of: path, limit: Int(ImageAccounts.largestFile)) ?? []
        }
        return ImageAccounts(
            passwd: try contents(ImageAccounts.passwd), group: try contents(ImageAccounts.group))
    }

    /// State of a directory between its whiteouts and its finalization.
    private struct DirectoryState {
        /// Whether a whiteout of the same name hides a directory of the layers below, which this one replaces.
        let replacesLower: Bool
        /// Names of the subdirectories that replace a lower one in this way.
        var replacing = Set<FileName>()
        var holdsWhiteouts = false
    }

    /// - Parameter below: the directory of the layers below at this path, unless this layer hides it.
    private mutating func writeWhiteouts(
        in node: Node, _ below: MergedDirectory?, replacesLower: Bool
    ) throws -> DirectoryState {
        var state = DirectoryState(replacesLower: replacesLower)
        // The kernel ignores an opaque mark on an overlay's root: each name of the layers below gets a whiteout there.
        if node.isOpaque, node === tree.root, let below {
            for name in try below.names() { try tree.addWhiteout(of: name, in: node) }
        }
        // In an opaque directory whiteouts hide nothing, and a device there would show (kernel: overlayfs.rst).
        let whiteouts = node.isOpaque && node !== tree.root ? [] : node.whiteouts
        for name in whiteouts {
            guard let below else { break }
            try poll()
            let hidden = try below.lookUp(name)
            if case .missing = hidden { continue }
            if let child = try ownNode(name, of: node) {
                if case .directory = hidden, child.exists { state.replacing.insert(name) }
                if child.exists { continue }
            }
            if try has(name, in: node) { continue }
            try open(node).makeWhiteout(name, format.whiteouts, format.marks)
            state.holdsWhiteouts = true
        }
        return state
    }

    /// Sets the mark and the metadata of a directory. Nothing may be created in it afterwards.
    private mutating func finish(
        _ node: Node, at path: [FileName], _ below: MergedDirectory?, _ state: DirectoryState
    ) throws {
        holdsWhiteouts = holdsWhiteouts || state.holdsWhiteouts
        var opacity: WhiteoutForm.Opacity?
        if state.replacesLower || (node.isOpaque && below != nil && node !== tree.root) {
            opacity = .opaque
            _ = try open(node)
        } else if format.whiteouts == .attribute,
            state.holdsWhiteouts || (node === tree.root && holdsWhiteouts)
        {
            opacity = .holdsWhiteouts
        }
        guard node.exists else { return }
        let plain = node === tree.root ? format.plainRoot : .implicit
        let metadata = try node.metadata ?? below?.metadata() ?? plain
        try writer.finishDirectory(
            try open(node), metadata, opacity, format.marks, entry: EntryPath(path))
    }
}

extension Metadata {
    /// Metadata of a directory that no entry lists and no layer below has.
    static let implicit = Metadata(uid: 0, gid: 0, mode: 0o755, modificationTime: .epoch)
}
