/// `struct erofs_inode_extended`, or `struct erofs_inode_compact` when read: the fixed part of an inode.
struct Inode: Equatable, Sendable {
    var kind: FileKind
    /// Permission bits with setuid, setgid and sticky.
    var mode: UInt16
    var layout: DataLayout
    /// `i_xattr_icount`.
    var attributeCount: UInt16 = 0
    var size: UInt64 = 0
    /// Start block, device number or chunk format.
    var address: UInt32 = 0
    /// Higher bits of the start block, which only compact inodes of newer versions of mkfs.erofs have.
    var highAddress: UInt16 = 0
    var number: UInt32 = 0
    var uid: UInt32
    var gid: UInt32
    var seconds: Int64
    var nanoseconds: UInt32
    var linkCount: UInt32
    /// Bytes of this part: 64, or 32 of a compact inode.
    var length = Format.extendedInodeSize

    static let addressOffset: UInt64 = 16
    static let linkCountOffset: UInt64 = 44

    init(_ kind: FileKind, _ metadata: InodeMetadata, layout: DataLayout, linkCount: UInt32) {
        self.kind = kind
        mode = metadata.mode & 0o7777
        self.layout = layout
        uid = metadata.uid
        gid = metadata.gid
        seconds = metadata.seconds
        nanoseconds = metadata.nanoseconds
        self.linkCount = linkCount
    }

    /// Bytes of the extended attributes that follow, with their header (fs/erofs/erofs_fs.h: erofs_xattr_ibody_size).
    var attributesSize: Int {
        attributeCount == 0 ? 0 : Format.attributeHeaderSize + 4 * (Int(attributeCount) - 1)
    }

    /// The `i_xattr_icount` of attributes with their header.
    static func attributeCount(ofSize size: Int) -> UInt16 {
        size == 0 ? 0 : UInt16(1 + (size - Format.attributeHeaderSize) / 4)
    }

    /// The metadata with the attributes that follow the inode.
    func metadata(_ attributes: [InodeAttribute]) -> InodeMetadata {
        InodeMetadata(
            mode: mode, uid: uid, gid: gid, seconds: seconds, nanoseconds: nanoseconds, attributes: attributes
        )
    }

    /// Appends the 64 bytes of an extended inode.
    @inline(__always) func append(to record: inout [UInt8]) {
        record.append(addingCapacity: Format.extendedInodeSize) { out in
            out.append(little: 1 | layout.rawValue << 1)
            out.append(little: attributeCount)
            out.append(little: mode | kind.modeBits)
            out.append(little: UInt16(0))
            out.append(little: size)
            out.append(little: address)
            out.append(little: number)
            out.append(little: uid)
            out.append(little: gid)
            out.append(little: UInt64(bitPattern: seconds))
            out.append(little: nanoseconds)
            out.append(little: linkCount)
            out.appendZeros(16)
        }
    }

    /// - Parameters:
    ///   - bytes: 64 bytes, or 32 at the end of the image.
    ///   - epoch: seconds and nanoseconds that times of compact inodes are relative to.
    ///   - node: number of the node, for errors.
    init(parsing bytes: [UInt8], epoch: (seconds: UInt64, nanoseconds: UInt32) = (0, 0), node: UInt64)
        throws(ErofsError)
    {
        guard bytes.count >= Format.compactInodeSize else { throw .corrupt(.outside, node: node) }
        let format: UInt16 = bytes.little(at: 0)
        // Bit 4: the link count of a compact inode is 1, or a directory does not list itself.
        guard format & ~0x1F == 0 else { throw .unsupported(.inodeFormat) }
        guard let layout = DataLayout(rawValue: format >> 1 & 7) else {
            throw .unsupported(format >> 1 & 7 > 4 ? .inodeFormat : .compression)
        }
        let mode: UInt16 = bytes.little(at: 4)
        guard let kind = FileKind(mode: mode) else { throw .corrupt(.mode, node: node) }
        self.layout = layout
        self.kind = kind
        self.mode = mode & 0o7777
        attributeCount = bytes.little(at: 2)
        address = bytes.little(at: 16)
        number = bytes.little(at: 20)
        if format & 1 == 1 {
            guard bytes.count >= Format.extendedInodeSize else { throw .corrupt(.outside, node: node) }
            highAddress = bytes.little(at: 6)
            size = bytes.little(at: 8)
            uid = bytes.little(at: 24)
            gid = bytes.little(at: 28)
            seconds = Int64(bitPattern: bytes.little(at: 32))
            nanoseconds = bytes.little(at: 40)
            linkCount = bytes.little(at: 44)
        } else {
            length = Format.compactInodeSize
            let links: UInt16 = bytes.little(at: 6)
            let hasOneLink = format & 0x10 != 0 && kind != .directory
            linkCount = hasOneLink ? 1 : UInt32(links)
            highAddress = hasOneLink ? links : 0
            size = UInt64(bytes.little(at: 8, as: UInt32.self))
            uid = UInt32(bytes.little(at: 24, as: UInt16.self))
            gid = UInt32(bytes.little(at: 26, as: UInt16.self))
            // Since Linux 6.15 a compact inode has a time relative to the superblock's; before it is 0.
            let delta: UInt32 = bytes.little(at: 12)
            seconds = Int64(bitPattern: epoch.seconds &+ UInt64(delta))
            nanoseconds = epoch.nanoseconds
        }
        guard nanoseconds < 1_000_000_000 else { throw .corrupt(.time, node: node) }
        guard size <= UInt64(Int64.max) else { throw .corrupt(.size, node: node) }
    }
}
