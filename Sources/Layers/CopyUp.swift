internal import Archive
internal import Kernel

extension MergedDirectory {
    /// Owner, mode, times and attributes of the directory as it shows: those of its topmost layer.
    func metadata() throws(SyscallFailure) -> Metadata? {
        try layers.first?.metadata()
    }
}

extension Directory {
    /// Owner, mode, times and attributes, but for what is the store's own.
    func metadata() throws(SyscallFailure) -> Metadata {
        let status = try file.status()
        return Metadata(status, try file.fileAttributes())
    }

    /// As `metadata()`, of a name in this directory that is no directory itself.
    func metadata(of name: FileName, _ status: FileStatus) throws(SyscallFailure) -> Metadata {
        Metadata(status, try fileAttributes(of: name))
    }
}

extension Metadata {
    /// Of a file as it lies on the disk, whose owner an attribute may describe; overlay's marks are left out.
    fileprivate init(_ status: FileStatus, _ attributes: [(name: AttributeName, value: [UInt8])]) {
        var attributes = attributes.filter { !$0.name.isOverlays }.map(ExtendedAttribute.init)
        var owner = FileOwner(uid: status.uid, gid: status.gid)
        if !Privileges.current.isInitialNamespace,
            let index = attributes.firstIndex(where: { $0.name == FileOwner.attribute }),
            let kept = FileOwner(attributes.remove(at: index).value)
        {
            owner = kept
        }
        self.init(
            uid: owner.uid, gid: owner.gid, mode: status.mode, modificationTime: status.modificationTime,
            accessTime: status.accessTime,
            extendedAttributes: attributes.sorted { $0.name < $1.name })
    }
}

extension Directory {
    /// Copies a file that is no directory, with all its metadata.
    func copy(
        _ source: FileName, _ status: FileStatus, to name: FileName, in target: Directory,
        finish writer: inout MetadataWriter, removeFrom digests: inout ContentDigests?,
        isWanted: () -> Bool
    ) throws {
        let metadata = try metadata(of: source, status)
        let entry = EntryPath([name])
        if status.isDirectory { throw SyscallFailure("linkat", path: "\(entry)", code: 1) }
        let mode = status.mode & 0o777
        if let copy = try duplicate(
            source, status, as: name, in: target, mode: mode, isWanted: isWanted)
        {
            try digests?.remove(copy)
            try writer.finishFile(copy, metadata, entry: entry)
            try copy.close()
        } else {
            let isSymlink = status.kind == .symlink
            try writer.finishSpecial(name, in: target, metadata, isSymlink: isSymlink, entry: entry)
        }
    }
}

extension LowerView {
    /// Lends each file of the merged tree that is no directory, and a closure that returns its path.
    func forEachFile(_ body: (FileStatus, () -> [FileName]) throws -> Void) throws {
        var way = OpenPath(root, weight: root.layers.count)
        /// Directories still to be visited, by level.
        var pending = [[FileName]]()
        func list(_ directory: MergedDirectory) throws {
            var directories = [FileName]()
            try directory.forEachName { name, file in
                switch file {
                case .missing: break
                case .directory: directories.append(name)
                case .file(_, let status): try body(status) { way.names + [name] }
                }
            }
            pending.append(directories)
        }
        try list(root)
        while let last = pending.indices.last {
            guard let name = pending[last].popLast() else {
                pending.removeLast()
                if last > 0 { way.ascend() }
                continue
            }
            guard let directory = try way.deepest().directory(name) else { continue }
            way.descend(to: name, directory)
            try list(directory)
        }
    }
}
