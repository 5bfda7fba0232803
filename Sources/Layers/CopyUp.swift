internal import Archive
internal import Kernel

extension MergedDirectory {
    /// Metadata of the directory in the merged tree: that of its topmost layer. Nil if there are no layers.
    func metadata() throws -> Metadata? {
        try layers.first?.metadata()
    }
}

extension Directory {
    /// Metadata of this directory, with the owner that `FileOwner.attribute` records and without the marks of
    /// overlayfs.
    func metadata() throws(SyscallFailure) -> Metadata {
        let status = try file.status()
        return Metadata(status, try file.fileAttributes())
    }

    /// As `metadata()`, for a file in this directory that is not a directory.
    func metadata(of name: FileName, _ status: FileStatus) throws(SyscallFailure) -> Metadata {
        Metadata(status, try fileAttributes(of: name))
    }
}

extension Metadata {
    fileprivate init(_ status: FileStatus, _ attributes: [(name: AttributeName, value: [UInt8])]) {
        var attributes = attributes.filter { !$0.name.isOverlayMark }.map(ExtendedAttribute.init)
        var owner = FileOwner(uid: status.uid, gid: status.gid)
        if !Privileges.current.isInitialNamespace,
            let index = attributes.firstIndex(where: { $0.name == FileOwner.attribute }),
            let recorded = FileOwner(attributes.remove(at: index).value)
        {
            owner = recorded
        }
        self.init(
            uid: owner.uid, gid: owner.gid, mode: status.mode, modificationTime: status.modificationTime,
            accessTime: status.accessTime,
            extendedAttributes: attributes.sorted { $0.name < $1.name })
    }
}

extension LowerView {
    /// Calls `body` for each file of the merged tree that is not a directory, with a closure that returns its path.
    func forEachFile(_ body: (FileStatus, () -> [FileName]) throws -> Void) throws {
        var stack = DirectoryStack(root, weight: root.layers.count)
        /// Directories still to be visited, by level.
        var pending = [[FileName]]()
        func list(_ directory: MergedDirectory) throws {
            var directories = [FileName]()
            try directory.forEachName { name, file in
                switch file {
                case .missing: break
                case .directory: directories.append(name)
                case .file(_, let status): try body(status) { stack.names + [name] }
                }
            }
            pending.append(directories)
        }
        try list(root)
        while let last = pending.indices.last {
            guard let name = pending[last].popLast() else {
                pending.removeLast()
                if last > 0 { stack.pop() }
                continue
            }
            guard let directory = try stack.deepest().directory(name) else { continue }
            stack.push(name, directory)
            try list(directory)
        }
    }
}
