internal import Archive
internal import Kernel

/// The same place in two trees.
struct DirectoryPair {
    /// Nil where the old tree has no directory.
    let old: MergedDirectory?
    let new: MergedDirectory

    /// Names that may be something else in the new tree, in the order of their bytes.
    ///
    /// - Parameter isShort: whether to pass over what is the same directory on the disk. It takes a new tree that stands on the
    ///   whole old one: then all that is different is in an overlay's upper directory, and so are all names of a file that got
    ///   another one.
    func names(isShort: Bool) throws(SyscallFailure) -> [FileName] {
        var names = Set<FileName>()
        if isShort, let added = try addedLayers() {
            for layer in added { names.formUnion(try layer.names()) }
        } else {
            names = try new.names()
            if let old { names.formUnion(try old.names()) }
        }
        names.remove(.stagedLayer)
        return names.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
    }

    /// The layers of the new directory above those of the old one; nil if it does not stand on those.
    func addedLayers() throws(SyscallFailure) -> [Directory]? {
        guard let old, !old.layers.isEmpty, old.layers.count <= new.layers.count, old.marks == new.marks
        else {
            return nil
        }
        for (a, b) in zip(old.layers.reversed(), new.layers.reversed()) {
            if try a.file.status().identity != b.file.status().identity { return nil }
        }
        return Array(new.layers.dropLast(old.layers.count))
    }

    /// - Throws: `.unsupported` where the kernel would look for a part of it under another name.
    func check(at path: [FileName]) throws {
        for directory in [old, new].compactMap(\.self) {
            for layer in directory.layers
            where try layer.file.extendedAttribute(directory.marks.redirect) != nil {
                throw LayerFailure(
                    .unsupported("overlay was told to redirect directories"),
                    entry: EntryPath(path).description)
            }
        }
    }
}

extension MergedDirectory {
    /// What a layer can say of it.
    func layerMetadata() throws(SyscallFailure) -> Metadata? { try metadata()?.forLayer }
}

extension Directory {
    /// What a layer can say of a file that is no directory.
    func layerMetadata(of name: FileName, _ status: FileStatus) throws(SyscallFailure) -> Metadata {
        try metadata(of: name, status).forLayer
    }
}

extension File {
    /// - Parameter check: called for each piece of 256 KiB.
    func hasSameContent(as other: borrowing File, check: () throws -> Void) throws -> Bool {
        var (bytes, otherBytes) = ([UInt8](), [UInt8]())
        var position: Int64 = 0
        repeat {
            try check()
            try read(into: &bytes, limit: 1 << 18, at: position)
            try other.read(into: &otherBytes, limit: 1 << 18, at: position)
            if bytes != otherBytes { return false }
            position += Int64(bytes.count)
        } while !bytes.isEmpty
        return true
    }
}

extension Metadata {
    /// Without what belongs to the host's privileged programs, which is never applied either, and without a time of access.
    fileprivate var forLayer: Metadata {
        var metadata = self
        metadata.extendedAttributes.removeAll { $0.name.hasPrefix("trusted.") }
        metadata.accessTime = metadata.modificationTime
        return metadata
    }
}
