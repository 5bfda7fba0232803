internal import Archive
internal import Kernel
internal import Streams

/// Hard links, and the files of the layers below that they copy up.
extension DirectorySink {
    /// A file of the layers below that a hard link has copied into this layer.
    struct CopiedUpFile {
        /// Its name in `copiedUpDirectory`.
        let copy: FileName
        /// One of its paths in the layers below.
        let path: [FileName]
        let hasMoreNames: Bool
    }

    mutating func link(
        _ source: LinkSource<Storage, LowerSource>, as name: FileName, in node: Node, _ entry: Entry
    ) throws -> Bool {
        let directory = try open(node)
        var hasReplaced = false
        switch source {
        case .itself: break
        case .own(let ownName, in: let parent):
            let source = try open(parent)
            hasReplaced = try replacing(name, in: directory) {
                try directory.link(ownName, of: source, as: name)
            }
        case .lower(let file, let lowerName, in: let parent):
            let (copy, source) = try copyUp(file, parent.path + [lowerName])
            hasReplaced = try replacing(name, in: directory) {
                try directory.link(copy, of: source, as: name)
            }
        }
        try writer.finishLink(name, in: directory, entry.metadata, entry: entry.path)
        return hasReplaced
    }

    /// Copies a file of the layers below, once, to a directory that no entry of this layer can reach.
    private mutating func copyUp(
        _ file: LowerSource, _ path: [FileName]
    ) throws -> (name: FileName, directory: Directory) {
        let directory = try openCopiedUpDirectory()
        if let existing = copiedUp[file.status.identity] { return (existing.copy, directory) }
        let copy = FileName(literal: "\(copiedUp.count)")
        try account.reserveMemory(path.memorySize)
        try account.write(min(file.status.size, file.status.blocks * FileStatus.blockSize))
        try file.layer.copy(
            file.name, file.status, to: copy, in: directory, finish: &writer, removeFrom: &digests,
            check: cancellation.check)
        copiedUp[file.status.identity] = CopiedUpFile(
            copy: copy, path: path, hasMoreNames: file.status.linkCount > 1)
        return (copy, directory)
    }

    private mutating func openCopiedUpDirectory() throws -> Directory {
        if let copiedUpDirectory { return copiedUpDirectory }
        let root = try open(tree.root)
        try root.makeDirectory(Whiteout.copiedUpDirectory, mode: 0o700)
        let directory = try root.open(Whiteout.copiedUpDirectory)
        copiedUpDirectory = directory
        return directory
    }

    /// Gives each copied-up file all names under which the layers below show it: overlay copies a file up under one
    /// name only, which would split a hard-link group.
    mutating func completeLinkGroups(of lower: LowerView) throws {
        guard let directory = copiedUpDirectory else { return }
        for file in copiedUp.values { try link(file, at: file.path, from: directory) }
        if copiedUp.values.contains(where: \.hasMoreNames) {
            let copiedUp = copiedUp
            try lower.forEachFile { status, path in
                try poll()
                if let file = copiedUp[status.identity] { try link(file, at: path(), from: directory) }
            }
        }
        try open(tree.root).removeTree(Whiteout.copiedUpDirectory, check: cancellation.check)
    }

    /// Links a copied-up file to a path of the layers below, unless this layer hides the path, or has a file at it or
    /// in place of a directory above it.
    private mutating func link(
        _ file: CopiedUpFile, at path: [FileName], from directory: Directory
    ) throws {
        guard let name = path.last else { return }
        try cancellation.check()
        try account.step(Int64(path.count))
        var node = tree.root
        for component in path.dropLast() {
            if node.hides(component) { return }
            if let own = try ownNode(component, of: node), own.exists {
                node = own
                continue
            }
            if try has(component, in: node) { return }
            node = try self.node(component, of: node)
        }
        if node.hides(name) { return }
        if try has(name, in: node) { return }
        try open(node).link(file.copy, of: directory, as: name)
    }
}
