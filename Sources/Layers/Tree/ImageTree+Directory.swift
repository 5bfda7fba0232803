internal import Archive
package import Kernel
internal import Streams

extension ImageTree {
    /// Reads the tree of a directory, e.g. of a mounted snapshot.
    ///
    /// - Parameters:
    ///   - digests: whether the files are read for their digests.
    ///   - check: called for each file and for each block of content.
    /// - Throws: `SyscallFailure`, `Budget.Excess`, errors of `check`.
    package init(
        walking root: Directory, digests: Bool = true, memory: TreeMemory = TreeMemory(),
        check: () throws -> Void = {}
    ) throws {
        self.init()
        var walk = DirectoryWalk(tree: self, digests: digests, memory: memory)
        try walk.read(root, check)
        self = walk.tree
    }

    /// Reads only the files that the kernel looks up for a path, with the digests of regular files.
    ///
    /// - Parameters:
    ///   - path: bytes of a path from `root`. A symlink in its last component is followed only if it ends with a slash.
    ///   - check: called for each file and for each block of content.
    /// - Throws: `SyscallFailure`, errors of `check`.
    package init(
        _ path: [UInt8], in root: Directory, memory: TreeMemory = TreeMemory(), check: () throws -> Void = {}
    ) throws {
        self.init()
        var walk = DirectoryWalk(tree: self, digests: true, memory: memory)
        walk.tree.files[0].metadata = try root.metadata()
        while case .missing(let missing) = walk.tree.resolve(path), try walk.read(missing, in: root, check) {}
        self = walk.tree
    }
}

private struct DirectoryWalk {
    var tree: ImageTree
    private let wantsDigests: Bool
    let memory: TreeMemory
    /// Files with several names that were read already.
    private var linkedFiles = [FileStatus.Identity: ImageTree.FileID]()
    private let buffer = ReadBuffer(size: 1 << 18)

    init(tree: ImageTree, digests: Bool, memory: TreeMemory) {
        self.tree = tree
        wantsDigests = digests
        self.memory = memory
    }

    private static let origin = ImageTree.Origin(layer: 0, entry: nil)

    mutating func read(_ root: Directory, _ check: () throws -> Void) throws {
        tree.files[0].metadata = try root.metadata()
        var stack = DirectoryStack(root)
        /// Directories still to be read, by level.
        var pending = [try list(root, ImageTree.root, check)]
        while let last = pending.indices.last {
            guard let (name, id) = pending[last].popLast() else {
                pending.removeLast()
                if last > 0 { stack.pop() }
                continue
            }
            let directory = try stack.deepest().open(name)
            stack.push(name, directory)
            pending.append(try list(directory, id, check))
        }
    }

    /// - Returns: the directories in it.
    private mutating func list(
        _ directory: Directory, _ id: ImageTree.FileID, _ check: () throws -> Void
    ) throws -> [(name: FileName, id: ImageTree.FileID)] {
        var directories = [(name: FileName, id: ImageTree.FileID)]()
        for name in try directory.names() {
            guard let child = try add(name, in: directory, to: id, check), tree[child].isDirectory else {
                continue
            }
            directories.append((name, child))
        }
        return directories
    }

    /// Reads the files on a path that the tree does not have yet, up to one that is missing or is no directory.
    ///
    /// - Returns: whether a file was added to the tree.
    mutating func read(_ path: [FileName], in root: Directory, _ check: () throws -> Void) throws -> Bool {
        let count = tree.files.count
        var stack = DirectoryStack(root)
        var id = ImageTree.root
        for name in path {
            let directory = try stack.deepest()
            guard let child = try tree.child(name, of: id) ?? add(name, in: directory, to: id, check),
                tree[child].isDirectory
            else { break }
            stack.push(name, try directory.open(name))
            id = child
        }
        return tree.files.count > count
    }

    /// - Returns: nil if there is no file of this name.
    private mutating func add(
        _ name: FileName, in directory: Directory, to id: ImageTree.FileID, _ check: () throws -> Void
    ) throws -> ImageTree.FileID? {
        try check()
        guard let status = try directory.status(of: name) else { return nil }
        try memory.reserveMemory(name.memorySize + 250)
        let child =
            try status.isDirectory
            ? tree.addDirectory(directory.open(name).metadata(), Self.origin)
            : file(name, in: directory, status, check)
        tree.setChild(name, of: id, to: child)
        return child
    }

    private mutating func file(
        _ name: FileName, in directory: Directory, _ status: FileStatus, _ check: () throws -> Void
    ) throws -> ImageTree.FileID {
        if let id = linkedFiles[status.identity] { return id }
        var detail: Int32 = -1
        let content: ImageTree.Content
        switch status.kind {
        case .regular:
            content = .regular(size: status.size)
            detail = Int32(tree.data.count)
            let digest =
                try wantsDigests
                ? digest(of: try directory.openFile(name, expecting: status), status, check) : nil
            tree.data.append(ImageTree.Data(digest: digest, ranges: nil))
        case .symlink: content = .symlink(try directory.readLink(name))
        case .fifo: content = .fifo
        case .socket: content = .socket
        case .character(let device): content = .character(device)
        case .block(let device): content = .block(device)
        case .directory: throw InternalError("a directory is added as a file: '\(name)'")
        }
        let metadata = try directory.metadata(of: name, status)
        try memory.reserveMemory(metadata.attributesSize)
        let id = tree.add(
            ImageTree.File(content: content, metadata: metadata, origin: Self.origin, detail: detail))
        if status.linkCount > 1 { linkedFiles[status.identity] = id }
        return id
    }

    private func digest(
        of file: borrowing File, _ status: FileStatus, _ check: () throws -> Void
    ) throws -> ContentDigest {
        var digester = ContentDigester()
        var position: Int64 = 0
        let mayHaveHoles = status.blocks * FileStatus.blockSize < status.size
        while position < status.size {
            try check()
            if mayHaveHoles {
                guard let next = try file.data(from: position) else { break }
                position = max(position, next.lowerBound)
            }
            let count = try file.read(at: position, with: buffer) { bytes in
                digester.update(bytes, at: position)
                return Int64(bytes.byteCount)
            }
            if count == 0 { break }
            position += count
        }
        // The file may have grown since its size was read.
        return digester.finish(size: max(status.size, position))
    }
}
