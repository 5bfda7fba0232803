internal import CKernel
internal import Glibc

/// The status of a file (stat(2)).
package struct FileStatus: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        case regular, directory, symlink, fifo, socket
        case character(DeviceNumber)
        case block(DeviceNumber)

        /// A noun phrase for messages.
        package var noun: String {
            switch self {
            case .regular: "a regular file"
            case .directory: "a directory"
            case .symlink: "a symbolic link"
            case .fifo: "a FIFO"
            case .socket: "a socket"
            case .character, .block: "a device"
            }
        }
    }

    package let kind: Kind
    /// Permission bits with setuid, setgid and sticky (07777); no type bits.
    package let mode: UInt32
    package let uid: UInt32
    package let gid: UInt32
    /// In bytes; for a symlink the length of its target.
    package let size: Int64
    /// Allocated blocks of 512 bytes, regardless of the block size of the file system (stat(2)).
    package let blocks: Int64
    package let accessTime: Timestamp
    package let modificationTime: Timestamp
    package let changeTime: Timestamp
    package let linkCount: UInt64
    /// Device and inode number: equal for all hard links of a file.
    package let identity: Identity

    package struct Identity: Hashable, Sendable {
        package let device: UInt64
        package let inode: UInt64

        package init(device: UInt64, inode: UInt64) {
            self.device = device
            self.inode = inode
        }
    }

    /// Inode number and change time: a snapshot of the file system keeps both, and every change of the file renews the
    /// time.
    package struct Version: Hashable, Sendable {
        let inode: UInt64
        let changeTime: Timestamp
    }

    package var version: Version { Version(inode: identity.inode, changeTime: changeTime) }

    /// Size of a unit of `blocks` in bytes.
    package static let blockSize: Int64 = 512

    /// In a sticky directory only the owner of an entry, or of the directory, can rename or remove the entry
    /// (unlink(2), EPERM).
    package var isSticky: Bool { mode & 0o1000 != 0 }

    package var isDirectory: Bool { kind == .directory }
    package var isBlockDevice: Bool { if case .block = kind { true } else { false } }

    /// Whether this is a whiteout of overlayfs: a character device 0:0, which hides the name in lower layers (kernel:
    /// overlayfs.rst, "whiteouts").
    package var isWhiteout: Bool { kind == .character(DeviceNumber(major: 0, minor: 0)) }

    /// The status of a file that is not on a mounted file system. All three times are the modification time.
    package init(
        kind: Kind, mode: UInt32, uid: UInt32, gid: UInt32, size: Int64, modificationTime: Timestamp,
        linkCount: UInt64, identity: Identity
    ) {
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        blocks = (size + Self.blockSize - 1) / Self.blockSize
        accessTime = modificationTime
        self.modificationTime = modificationTime
        changeTime = modificationTime
        self.linkCount = linkCount
        self.identity = identity
    }

    init(_ raw: stat) {
        let device = DeviceNumber(major: ck_major(raw.st_rdev), minor: ck_minor(raw.st_rdev))
        kind =
            switch raw.st_mode & Glibc.S_IFMT {
            case Glibc.S_IFDIR: .directory
            case Glibc.S_IFLNK: .symlink
            case Glibc.S_IFIFO: .fifo
            case Glibc.S_IFSOCK: .socket
            case Glibc.S_IFCHR: .character(device)
            case Glibc.S_IFBLK: .block(device)
            default: .regular
            }
        mode = raw.st_mode & 0o7777
        uid = raw.st_uid
        gid = raw.st_gid
        size = Int64(raw.st_size)
        blocks = Int64(raw.st_blocks)
        accessTime = Timestamp(seconds: Int64(raw.st_atim.tv_sec), nanoseconds: UInt32(raw.st_atim.tv_nsec))
        modificationTime = Timestamp(
            seconds: Int64(raw.st_mtim.tv_sec), nanoseconds: UInt32(raw.st_mtim.tv_nsec))
        changeTime = Timestamp(seconds: Int64(raw.st_ctim.tv_sec), nanoseconds: UInt32(raw.st_ctim.tv_nsec))
        linkCount = UInt64(raw.st_nlink)
        identity = Identity(device: UInt64(raw.st_dev), inode: UInt64(raw.st_ino))
    }
}

/// A device number as major and minor number (makedev(3)); the kernel keeps 12 bits of the major and 20 of the minor.
package struct DeviceNumber: Hashable, Sendable {
    package static let maximumMajor: UInt32 = (1 << 12) - 1
    package static let maximumMinor: UInt32 = (1 << 20) - 1

    package let major: UInt32
    package let minor: UInt32

    package init(major: UInt32, minor: UInt32) {
        self.major = major
        self.minor = minor
    }
}

/// A point in time: seconds since 1970-01-01 UTC, which may be negative, plus 0 to 999,999,999 nanoseconds.
package struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
    package static let epoch = Timestamp(seconds: 0, nanoseconds: 0)

    package let seconds: Int64
    package let nanoseconds: UInt32

    package init(seconds: Int64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    package static func < (left: Self, right: Self) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }

    /// Decimal seconds, as date(1) accepts after `@`: `-1.5` is 1.5 seconds before 1970.
    package var description: String {
        let isNegative = seconds < 0 && nanoseconds > 0
        let (whole, rest) = isNegative ? (seconds + 1, 1_000_000_000 - nanoseconds) : (seconds, nanoseconds)
        let sign = isNegative && whole == 0 ? "-" : ""
        var digits = String(rest, minimumDigits: 9)
        while digits.last == "0" { digits.removeLast() }
        return sign + "\(whole)" + (digits.isEmpty ? "" : ".\(digits)")
    }

    var timespec: Glibc.timespec { Glibc.timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds)) }
}
