internal import Archive
internal import Kernel

/// The directories at one path in two trees.
struct DirectoryPair {
    /// Nil if the old tree has no directory at the path.
    let old: MergedDirectory?
    let new: MergedDirectory

    /// Names that may differ between the trees, in the order of their bytes.
    ///
    /// - Parameter walksOnlyAddedLayers: whether to list only the layers that the new tree adds to the old one.
    ///   Precondition: the new tree consists of all layers of the old tree and further ones above them. Overlayfs then
    ///   has all differences in the upper directories, and also all names of a file that has got another name.
    func names(walksOnlyAddedLayers: Bool) throws -> [FileName] {
        var names = Set<FileName>()
        if walksOnlyAddedLayers, let added = try addedLayers() {
            for layer in added { names.formUnion(try layer.names()) }
        } else {
            names = try new.names()
            if let old { names.formUnion(try old.names()) }
        }
        names.remove(.stagedLayer)
        return names.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
    }

    /// The layers of the new directory above those of the old one; nil if the old ones are not its lowest layers.
    func addedLayers() throws -> [LayerDirectory]? {
        guard let old, !old.layers.isEmpty, old.layers.count <= new.layers.count, old.marks == new.marks
        else {
            return nil
        }
        for (a, b) in zip(old.layers.reversed(), new.layers.reversed()) {
            if try a.identity() != b.identity() { return nil }
        }
        return Array(new.layers.dropLast(old.layers.count))
    }

    /// - Throws: `.unsupported` if overlayfs has redirected the directory to another path in the layers below.
    func check(at path: [FileName]) throws {
        for directory in [old, new].compactMap(\.self) {
            for case .disk(let layer) in directory.layers
            where try layer.file.extendedAttribute(directory.marks.redirect) != nil {
                throw LayerFailure(
                    .unsupported("overlayfs has redirected this directory (redirect_dir)"),
                    entry: EntryPath(path).description)
            }
        }
    }
}

extension MergedDirectory {
    /// The metadata that a layer can contain.
    func layerMetadata() throws -> Metadata? { try metadata()?.forLayer }
}

extension LayerDirectory {
    /// The metadata that a layer can contain of a file that is not a directory.
    func layerMetadata(of name: FileName, _ status: FileStatus) throws -> Metadata {
        try metadata(of: name, status).forLayer
    }
}

extension Metadata {
    /// Removes `trusted.*` attributes, which are never applied either, and the access time.
    fileprivate var forLayer: Metadata {
        var metadata = self
        metadata.extendedAttributes.removeAll { $0.name.hasPrefix("trusted.") }
        metadata.accessTime = metadata.modificationTime
        return metadata
    }
}
