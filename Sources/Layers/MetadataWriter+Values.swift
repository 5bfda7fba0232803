internal import Archive
internal import Kernel

/// Metadata as it would be read back after it was written, for trees that are not on a disk.
extension MetadataWriter {
    /// - Parameters:
    ///   - isSymlink: the kernel gives every symlink the mode 0777.
    ///   - takesUserAttributes: whether it is a regular file or a directory.
    mutating func result(
        of metadata: Metadata, isSymlink: Bool = false, takesUserAttributes: Bool = true, entry: EntryPath
    ) throws -> Metadata {
        var result = metadata
        if isSymlink { result.mode = 0o777 }
        if metadata.extendedAttributes.isEmpty { return result }
        result.extendedAttributes = try allowed(metadata.extendedAttributes, entry: entry).filter {
            attribute in
            if attribute.isInvalidCapability {
                throw LayerFailure(
                    refusing: entry, "\(attribute.name) is no capability that the kernel reads")
            }
            if takesUserAttributes || !attribute.isUserAttribute { return true }
            warn(.unsupportedAttribute, entry: entry, attribute.name.description)
            return false
        }
        return result.updatingAccessControlToMode()
    }

    /// Metadata of a file after the entry of a hard link to it: attributes are only added.
    mutating func result(
        of metadata: Metadata, onto old: Metadata, isSymlink: Bool, takesUserAttributes: Bool,
        entry: EntryPath
    ) throws -> Metadata {
        var result = try result(
            of: metadata, isSymlink: isSymlink, takesUserAttributes: takesUserAttributes, entry: entry)
        let new = Set(result.extendedAttributes.map(\.name))
        let kept = old.extendedAttributes.filter { !new.contains($0.name) }
        if kept.isEmpty { return result }
        result.extendedAttributes = (result.extendedAttributes + kept).sorted { $0.name < $1.name }
        return result.updatingAccessControlToMode()
    }
}
