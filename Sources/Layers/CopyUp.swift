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
        var attributes = [ExtendedAttribute]()
        for name in try file.extendedAttributeNames() where !name.isStoresOwn {
            if let value = try file.extendedAttribute(name) {
                attributes.append(ExtendedAttribute(name: name, value: value))
            }
        }
        return Metadata(status, attributes)
    }
}

extension Metadata {
    /// Of a file as it lies on the disk, whose owner may be told by an attribute.
    init(_ status: FileStatus, _ attributes: [ExtendedAttribute]) {
        var attributes = attributes
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
        finish writer: inout MetadataWriter, removeFrom digests: inout ContentDigests?
    ) throws {
        var attributes = [ExtendedAttribute]()
        for attribute in try extendedAttributeNames(of: source) {
            if let value = try extendedAttribute(attribute, of: source) {
                attributes.append(ExtendedAttribute(name: attribute, value: value))
            }
        }
        let metadata = Metadata(status, attributes)
        let entry = EntryPath([name])
        if status.isDirectory { throw SyscallFailure("linkat", path: "\(entry)", code: 1) }
        let mode = status.mode & 0o777
        if let copy = try duplicate(source, status, as: name, in: target, mode: mode) {
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
    /// Lends each file of the merged tree that is no directory.
    func forEachFile(_ body: ([FileName], FileStatus) throws -> Void) throws {
        var pending: [[FileName]] = [[]]
        while let path = pending.popLast() {
            guard let directory = try directory(path) else { continue }
            for name in try directory.names() {
                switch try directory.lookUp(name) {
                case .missing: break
                case .directory: pending.append(path + [name])
                case .file(_, let status): try body(path + [name], status)
                }
            }
        }
    }
}
