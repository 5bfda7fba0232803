internal import Archive
internal import Kernel
internal import Streams

/// Hard links, and the files of the layers below that they copy up.
extension DirectorySink {
    /// A file of the layers below that a hard link has copied into this layer.
    struct CopiedUpFile {
        /// Its name in `copiedUpFolder`.
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
            let folder = try open(parent)
            hasReplaced = try replacing(name, in: directory) {
                try directory.link(ownName, of: folder, as: name)
            }
        case .lower(let file, let lowerName, in: let parent):
            let (copy, folder) = try copyUp(file, parent.path + [lowerName])
            hasReplaced = try replacing(name, in: directory) {
                try directory.link(copy, of: folder, as: name)
            }
        }
        try writer.finishLink(name, in: directory, entry.metadata, entry: entry.path)
        return hasReplaced
    }

    /// Copies a file of the layers below, once, to where no entry of this layer can reach it.
    private mutating func copyUp(
        _ file: LowerSource, _ path: [FileName]
    ) throws -> (name: FileName, folder: Directory) {
        let folder = try makeCopiedUpFolder()
        if let known = copiedUp[file.status.identity] { return (known.copy, folder) }
        let copy = FileName(literal: "\(copiedUp.count)")
        try account.remember(path.memorySize)
        try account.write(min(file.status.size, file.status.blocks * FileStatus.blockSize))
        try file.layer.copy(
            file.name, file.status, to: copy, in: folder, finish: &writer, removeFrom: &digests,
            isWanted: isWanted)
        copiedUp[file.status.identity] = CopiedUpFile(
            copy: copy, path: path, hasMoreNames: file.status.linkCount > 1)
        return (copy, folder)
    }

    private mutating func makeCopiedUpFolder() throws -> Directory {
        if let copiedUpFolder { return copiedUpFolder }
        let root = try open(tree.root)
        try root.makeDirectory(Whiteout.asideFolder, mode: 0o700)
        let folder = try root.open(Whiteout.asideFolder)
        copiedUpFolder = folder
        return folder
    }

    /// Gives each file that was copied up all names under which the layers below show it: overlay copies a file up under one
    /// name only, which would split a hard-link group.
    mutating func completeLinkGroups(of lower: LowerView) throws {
        guard let folder = copiedUpFolder else { return }
        for file in copiedUp.values { try show(file, at: file.path, from: folder) }
        if copiedUp.values.contains(where: \.hasMoreNames) {
            let known = copiedUp
            try lower.forEachFile { status, path in
                try poll()
                if let file = known[status.identity] { try show(file, at: path(), from: folder) }
            }
        }
        try open(tree.root).removeTree(Whiteout.asideFolder, isWanted: isWanted)
    }

    /// Links a file to a path of the layers below, unless this layer hides it or has something there or on the way.
    private mutating func show(_ file: CopiedUpFile, at path: [FileName], from folder: Directory) throws {
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
        try open(node).link(file.copy, of: folder, as: name)
    }
}
