internal import Archive
internal import Kernel

/// The end of a layer.
extension DirectorySink {
    /// Writes the whiteouts that hide something, and finalizes every directory, deepest first.
    ///
    /// - Throws: as `lowerView`, for which it waits.
    mutating func finish() throws {
        directories.close()
        lowerLayers.close()
        let lower = try lowerView()
        if try has(Whiteout.keptFolder, in: tree.root) {
            tree.root.children[Whiteout.keptFolder] = nil
            try open(tree.root).removeTree(Whiteout.keptFolder, isWanted: isWanted)
        }
        try completeLinkGroups(of: lower)
        var walk = NodeWalk(tree.root, over: lower.isEmpty ? nil : lower.root)
        var states = [DirectoryState]()
        while let step = try walk.next() {
            try poll()
            switch step {
            case .enter(let node, let lower):
                // The layer has a file or a whiteout where the node only hid something.
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

    /// Completes the layer, which lacks access control lists that name accounts, and reads the accounts of the merged tree.
    ///
    /// - Throws: as `finish`.
    mutating func readAccounts() throws -> ImageAccounts {
        try finish()
        let view = try lowerView().adding(try open(tree.root))
        func contents(_ path: String) throws -> [UInt8] {
            try view.contents(of: path, limit: Int(ImageAccounts.largestFile)) ?? []
        }
        return ImageAccounts(
            passwd: try contents(ImageAccounts.passwd), group: try contents(ImageAccounts.group))
    }

    /// What is known of a directory before those in it are finalized.
    private struct DirectoryState {
        /// Whether a whiteout of its own name hides a directory of the layers below.
        let replacesLower: Bool
        /// The directories in it of which that is so.
        var replacing = Set<FileName>()
        var holdsWhiteouts = false
    }

    /// - Parameter below: the directory of the layers below at this path, unless this layer hides it.
    private mutating func writeWhiteouts(
        in node: Node, _ below: MergedDirectory?, replacesLower: Bool
    ) throws -> DirectoryState {
        var state = DirectoryState(replacesLower: replacesLower)
        // The kernel ignores an opaque mark on an overlay's root: there each name of the layers below is hidden by itself.
        if node.isOpaque, node === tree.root, let below { tree.addWhiteouts(of: try below.names(), in: node) }
        // In an opaque directory they hide nothing more, and a device there would show (kernel: overlayfs.rst).
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

    /// Sets a directory's mark and metadata, after which nothing is made in it.
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
    /// Of a directory that neither an entry lists nor a layer below has.
    static let implicit = Metadata(uid: 0, gid: 0, mode: 0o755, modificationTime: .epoch)
}
