internal import Archive
internal import Kernel
internal import Streams

/// Hard links, and the files of the layers below that they copy up.
extension DirectorySink {
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

    mutating func link(_ copy: FileName, as name: FileName, in node: Node) throws {
        try open(node).link(copy, of: try openCopiedUpDirectory(), as: name)
    }

    mutating func removeCopiedUpDirectory() throws {
        guard copiedUpDirectory != nil else { return }
        copiedUpDirectory = nil
        try open(tree.root).removeTree(Whiteout.copiedUpDirectory, check: cancellation.check)
    }
}
