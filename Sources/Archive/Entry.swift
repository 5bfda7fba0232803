package import Kernel

/// One entry of a layer's tar, checked and copied out of the archive.
package struct Entry: Sendable {
    package enum Content: Equatable, Sendable {
        /// The bytes follow in the stream; `size` counts holes too.
        case regular(size: Int64)
        case directory
        /// Another name in the layer or below it, cleaned like every path.
        case hardLink(EntryPath)
        /// Stored as it is, never resolved.
        case symlink([UInt8])
        case fifo
        case character(DeviceNumber)
        case block(DeviceNumber)
    }

    package let path: EntryPath
    package let content: Content
    package internal(set) var metadata: Metadata
    /// Access control lists that have names without numbers, and that no attribute has with numbers; not among the metadata
    /// until `numbered(by:)`.
    var namedLists = [AttributeName: AccessControlList]()
    /// Where its header stands, in bytes of the uncompressed layer.
    package let offset: Int64
}

/// What a file has beside its content.
package struct Metadata: Hashable, Sendable {
    package var uid: UInt32
    package var gid: UInt32
    /// Permission bits with setuid, setgid and sticky.
    package var mode: UInt32
    package var modificationTime: Timestamp
    /// The archive's, else the modification time.
    package var accessTime: Timestamp
    /// Full names, POSIX ACLs among them as `system.posix_acl_*`; each name once, in byte order.
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
