package import Kernel

/// One entry of a layer's tar, validated and independent of the archive's memory.
package struct Entry: Sendable {
    package enum Content: Equatable, Sendable {
        /// The data follows in the stream; `size` includes holes.
        case regular(size: Int64)
        case directory
        /// A hard link to a path in this layer or in one below it, cleaned like every path.
        case hardLink(EntryPath)
        /// The target as written in the archive, never resolved.
        case symlink([UInt8])
        case fifo
        case character(DeviceNumber)
        case block(DeviceNumber)
    }

    package let path: EntryPath
    package let content: Content
    package internal(set) var metadata: Metadata
    /// Access control lists with names instead of ids that no extended attribute contains with ids. They become
    /// metadata in `resolvingNames(with:)`.
    var unresolvedLists = [AttributeName: AccessControlList]()
    /// Offset of the entry's header, in bytes of the uncompressed layer.
    package let offset: Int64
}

/// A file's metadata.
package struct Metadata: Hashable, Sendable {
    package var uid: UInt32
    package var gid: UInt32
    /// Permission bits with setuid, setgid and sticky.
    package var mode: UInt32
    package var modificationTime: Timestamp
    /// The access time in the archive, or the modification time if there is none.
    package var accessTime: Timestamp
    /// Extended attributes with full names, including POSIX ACLs as `system.posix_acl_*`; unique, in byte order of
    /// their names.
    package var extendedAttributes: [ExtendedAttribute]

    package init(
        uid: UInt32, gid: UInt32, mode: UInt32, modificationTime: Timestamp, accessTime: Timestamp? = nil,
        extendedAttributes: [ExtendedAttribute] = []
    ) {
        self.uid = uid
        self.gid = gid
        self.mode = mode
        self.modificationTime = modificationTime
        self.accessTime = accessTime ?? modificationTime
        self.extendedAttributes = extendedAttributes
    }
}

package struct ExtendedAttribute: Hashable, Sendable {
    package let name: AttributeName
    package let value: [UInt8]

    package init(name: AttributeName, value: [UInt8]) {
        self.name = name
        self.value = value
    }
}
