/// Numbers of the format on disk (kernel: fs/erofs/erofs_fs.h).
enum Format {
    static let superblockOffset = 1024
    static let superblockSize = 128
    static let magic: UInt32 = 0xE0F5_E1E2

    /// `EROFS_FEATURE_COMPAT_*`.
    static let hasChecksum: UInt32 = 1
    static let hasTimes: UInt32 = 2

    /// `EROFS_FEATURE_INCOMPAT_*`: `LZ4_0PADDING` concerns compressed inodes only, which the reader refuses one by one.
    static let zeroPadding: UInt32 = 1
    static let chunkedFiles: UInt32 = 4

    /// Bytes of a node number's unit.
    static let slotSize: UInt64 = 32
    static let extendedInodeSize = 64
    static let compactInodeSize = 32

    /// An address without a block: an empty file, or a hole.
    static let noBlock = UInt32.max

    /// Bits of a chunk format.
    static let chunkBits: UInt16 = 0x1F
    static let chunkHasIndexes: UInt16 = 0x20

    static let direntSize = 12
    static let maximumNameLength = 255

    /// `struct erofs_xattr_ibody_header`, `struct erofs_xattr_entry`.
    static let attributeHeaderSize = 12
    static let attributeEntrySize = 4
    /// `i_xattr_icount` has 16 bits and counts the header as 1.
    static let maximumAttributesSize = attributeHeaderSize + 4 * (Int(UInt16.max) - 1)

    /// Space before the tar or the data for the superblock and the root directory's inode.
    static let headerSize: UInt64 = 4096
    static let rootNode: UInt64 = 36
    static let rootOffset = rootNode * slotSize

    /// The kernel reads a symlink's target as one page (fs/namei.c: page_get_link).
    static let maximumTargetLength = 4095
}

/// `enum` of `i_format`, bits 1 to 3.
enum DataLayout: UInt16, Sendable {
    case plain = 0
    case inline = 2
    case chunked = 4
}

/// A file's type, with the numbers of directory entries (kernel: include/linux/fs_types.h).
package enum FileKind: UInt8, Hashable, Sendable {
    case regular = 1
    case directory, characterDevice, blockDevice, fifo, socket, symlink

    /// The type bits of a mode (inode(7)).
    var modeBits: UInt16 {
        switch self {
        case .regular: 0o100000
        case .directory: 0o040000
        case .characterDevice: 0o020000
        case .blockDevice: 0o060000
        case .fifo: 0o010000
        case .socket: 0o140000
        case .symlink: 0o120000
        }
    }

    init?(mode: UInt16) {
        switch mode & 0o170000 {
        case 0o100000: self = .regular
        case 0o040000: self = .directory
        case 0o020000: self = .characterDevice
        case 0o060000: self = .blockDevice
        case 0o010000: self = .fifo
        case 0o140000: self = .socket
        case 0o120000: self = .symlink
        default: return nil
        }
    }

    var isDevice: Bool { self == .characterDevice || self == .blockDevice }
}

/// Metadata of a file, as the image stores it.
package struct InodeMetadata: Hashable, Sendable {
    /// Permission bits with setuid, setgid and sticky.
    package var mode: UInt16
    package var uid: UInt32
    package var gid: UInt32
    /// Modification time since 1970-01-01 UTC; may be negative.
    package var seconds: Int64
    package var nanoseconds: UInt32
    /// In any order; names are unique.
    package var attributes: [InodeAttribute]

    package init(
        mode: UInt16, uid: UInt32, gid: UInt32, seconds: Int64, nanoseconds: UInt32,
        attributes: [InodeAttribute] = []
    ) {
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.seconds = seconds
        self.nanoseconds = nanoseconds
        self.attributes = attributes
    }
}

/// An extended attribute with its full name, for example `user.comment`. A POSIX ACL has the form that getxattr(2)
/// returns (`struct posix_acl_xattr_header`, version 2), under the name `system.posix_acl_access` or
/// `system.posix_acl_default`: the kernel stores and reads that form in EROFS (fs/erofs/xattr.c: erofs_get_acl).
package struct InodeAttribute: Hashable, Sendable {
    package let name: [UInt8]
    package let value: [UInt8]

    package init(name: [UInt8], value: [UInt8]) {
        self.name = name
        self.value = value
    }
}

/// A device number.
package struct ImageDevice: Hashable, Sendable {
    package let major: UInt32
    package let minor: UInt32

    package init(major: UInt32, minor: UInt32) {
        self.major = major
        self.minor = minor
    }

    /// The kernel's encoding (include/linux/kdev_t.h: new_encode_dev); nil if a number is out of range.
    var encoded: UInt32? {
        guard major < 1 << 12, minor < 1 << 20 else { return nil }
        return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    }

    init(encoded: UInt32) {
        major = encoded >> 8 & 0xFFF
        minor = encoded & 0xFF | encoded >> 12 & 0xFFF00
    }
}
