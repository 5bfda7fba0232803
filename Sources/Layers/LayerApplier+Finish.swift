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
            try tree.open(tree.root).removeTree(Whiteout.keptFolder)
        }
        try completeGroups(of: lower)
        try finish(tree.root, lower: lower.isEmpty ? nil : lower.root)
    }

    /// - Parameter below: the lower layers' directory at this place, unless this layer hides it.
    /// - Parameter replacesLower: whether it stands beside a whiteout of the same name that hides a
    ///   directory.
    private mutating func finish(
        _ node: DirectoryNode, lower below: MergedDirectory?, replacesLower: Bool = false
    ) throws {
        // The kernel does not look for an opaque mark on an overlay's root: there each lower name is hidden
        // by itself.
        if node.isOpaque, node === tree.root, let below { node.whiteouts.formUnion(try below.names()) }
        var replacing = Set<FileName>()
        var here = false
        // In an opaque directory they hide nothing more, and a device there would show (kernel: overlayfs.rst).
        let whiteouts = node.isOpaque && node !== tree.root ? [] : node.whiteouts
        for name in whiteouts {
            guard let below else { break }
            let hidden = try below.lookUp(name)
            if case .missing = hidden { continue }
            if let child = try ownDirectory(name, in: node) {
                if case .directory = hidden, child.exists { replacing.insert(name) }
                if child.exists { continue }
            }
            if node.exists, try tree.open(node).status(of: name) != nil { continue }
            try tree.open(node).makeWhiteout(name, form, marks)
            here = true
        }
        for (name, child) in node.children {
            // A file of this layer, or a whiteout, stands where it only hid something.
            if !child.exists, node.exists, try tree.open(node).status(of: name) != nil { continue }
            try finish(
                child, lower: try node.shown(name, of: below), replacesLower: replacing.contains(name))
        }
        holdsWhiteouts = holdsWhiteouts || here
        var opacity: WhiteoutForm.Opacity?
        if replacesLower || (node.isOpaque && below != nil && node !== tree.root) {
            opacity = .opaque
            _ = try tree.open(node)
        } else if form == .attribute, here || (node === tree.root && holdsWhiteouts) {
            opacity = .holdsWhiteouts
        }
        guard node.exists else { return }
        let plain = node === tree.root ? plainRoot : .implicit
        let metadata = try node.metadata ?? below?.metadata() ?? plain
        try writer.finishDirectory(
            try tree.open(node), metadata, opacity, marks, entry: EntryPath(node.path))
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
