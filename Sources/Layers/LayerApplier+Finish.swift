internal import Archive
internal import Kernel

/// The end of a layer.
extension LayerApplier {
    /// Writes the whiteouts that hide something, and completes every directory, deepest first.
    ///
    /// - Throws: as `openLower`, for which it waits.
    mutating func finish() throws {
        last = nil
        tree.closeHandles()
        let lower = try openLower()
        if tree.keepsAside {
            tree.root.children[Whiteout.keptFolder] = nil
            try tree.open(tree.root).removeTree(Whiteout.keptFolder, isWanted: isWanted)
        }
        try completeGroups(of: lower)
        var walk = NodeWalk(tree.root, over: lower.isEmpty ? nil : lower.root)
        var finishes = [Finish]()
        while let step = try walk.next() {
            try poll()
            switch step {
            case .enter(let node, let lower):
                // A file of this layer, or a whiteout, stands where it only hid something.
                if !node.exists, let name = node.name, let parent = node.parent, parent.exists,
                    try tree.open(parent).status(of: name) != nil
                {
                    walk.skip()
                    continue
                }
                let replacesLower = node.name.map { finishes.last?.replacing.contains($0) == true } ?? false
                finishes.append(try hide(in: node, lower, replacesLower: replacesLower))
            case .leave(let node, let lower):
                if let finish = finishes.popLast() { try complete(node, at: walk.path, lower, finish) }
            }
        }
    }

    /// What is known of a directory before those in it are complete.
    private struct Finish {
        /// Whether it stands beside a whiteout of the same name that hides a directory.
        let replacesLower: Bool
        /// The directories in it that do.
        var replacing = Set<FileName>()
        /// Whether it holds whiteouts.
        var holdsWhiteouts = false
    }

    /// Writes the whiteouts of a directory.
    ///
    /// - Parameter below: the lower layers' directory at this place, unless this layer hides it.
    private mutating func hide(
        in node: DirectoryNode, _ below: MergedDirectory?, replacesLower: Bool
    ) throws -> Finish {
        var finish = Finish(replacesLower: replacesLower)
        // The kernel does not look for an opaque mark on an overlay's root: there each lower name is hidden
        // by itself.
        if node.isOpaque, node === tree.root, let below { node.whiteouts.formUnion(try below.names()) }
        // In an opaque directory they hide nothing more, and a device there would show (kernel: overlayfs.rst).
        let whiteouts = node.isOpaque && node !== tree.root ? [] : node.whiteouts
        for name in whiteouts {
            guard let below else { break }
            try poll()
            let hidden = try below.lookUp(name)
            if case .missing = hidden { continue }
            if let child = try ownDirectory(name, in: node) {
                if case .directory = hidden, child.exists { finish.replacing.insert(name) }
                if child.exists { continue }
            }
            if node.exists, try tree.open(node).status(of: name) != nil { continue }
            try tree.open(node).makeWhiteout(name, form, marks)
            finish.holdsWhiteouts = true
        }
        return finish
    }

    /// Gives a directory its mark and its metadata, after which nothing is made in it.
    private mutating func complete(
        _ node: DirectoryNode, at path: [FileName], _ below: MergedDirectory?, _ finish: Finish
    ) throws {
        holdsWhiteouts = holdsWhiteouts || finish.holdsWhiteouts
        var opacity: WhiteoutForm.Opacity?
        if finish.replacesLower || (node.isOpaque && below != nil && node !== tree.root) {
            opacity = .opaque
            _ = try tree.open(node)
        } else if form == .attribute, finish.holdsWhiteouts || (node === tree.root && holdsWhiteouts) {
            opacity = .holdsWhiteouts
        }
        guard node.exists else { return }
        let plain = node === tree.root ? plainRoot : .implicit
        let metadata = try node.metadata ?? below?.metadata() ?? plain
        try writer.finishDirectory(
            try tree.open(node), metadata, opacity, marks, entry: EntryPath(path))
    }
}

extension DirectoryNode {
    /// The directory that the lower layers show of a name here; nil if this layer hides it.
    ///
    /// - Parameter below: the lower layers' directory at this place.
    func shown(_ name: FileName, of below: MergedDirectory?) throws -> MergedDirectory? {
        guard let below, !hides(name), case .directory(let directory) = try below.lookUp(name) else {
            return nil
        }
        return directory
    }
}

extension Metadata {
    /// Of a directory that no entry lists and no lower layer has.
    static let implicit = Metadata(uid: 0, gid: 0, mode: 0o755, modificationTime: .epoch)
}
