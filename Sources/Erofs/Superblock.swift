/// `struct erofs_super_block`.
struct Superblock: Equatable, Sendable {
    var compatible: UInt32 = Format.hasChecksum | Format.hasTimes
    var incompatible: UInt32 = 0
    var blockBits: UInt8
    var root: UInt64 = Format.rootNode
    var inodeCount: UInt64
    /// Seconds and nanoseconds that compact inodes' times are based on.
    var epoch: UInt64 = 0
    var nanoseconds: UInt32 = 0
    var blocks: UInt64
    var metadataBlock: UInt32 = 0
    var sharedAttributesBlock: UInt32 = 0
    /// 16 bytes.
    var uuid: [UInt8]
    /// Up to 15 bytes.
    var volumeName: [UInt8]

    var blockSize: UInt64 { 1 << UInt64(blockBits) }

    /// Number of the bytes that the checksum covers, from the superblock on (fs/erofs/super.c:
    /// erofs_superblock_csum_verify).
    private static func checksumLength(blockBits: UInt8) -> Int {
        let block = 1 << Int(blockBits)
        return block > Format.superblockOffset ? block - Format.superblockOffset : block
    }

    /// Writes the superblock and its checksum into the image's first 4096 bytes.
    func encode(into header: inout [UInt8]) {
        var bytes = [UInt8]()
        bytes.append(addingCapacity: Format.superblockSize) { out in
            out.append(little: Format.magic)
            out.append(little: UInt32(0))  // checksum
            out.append(little: compatible)
            out.append(blockBits)
            out.append(0)  // further slots
            out.append(little: UInt16(truncatingIfNeeded: root))
            out.append(little: inodeCount)
            out.append(little: epoch)
            out.append(little: nanoseconds)
            out.append(little: UInt32(truncatingIfNeeded: blocks))
            out.append(little: metadataBlock)
            out.append(little: sharedAttributesBlock)
        }
        bytes += uuid
        bytes += volumeName
        bytes.append(contentsOf: repeatElement(0, count: 16 - volumeName.count))
        bytes.append(little: incompatible)
        bytes.append(contentsOf: repeatElement(0, count: Format.superblockSize - bytes.count))
        let start = Format.superblockOffset
        header.replaceSubrange(start..<start + bytes.count, with: bytes)
        let covered = start..<start + Self.checksumLength(blockBits: blockBits)
        var sum = [UInt8]()
        sum.append(little: CRC32C.of(header[covered]))
        header.replaceSubrange(start + 4..<start + 8, with: sum)
    }

    init(blockBits: UInt8, inodeCount: UInt64, blocks: UInt64, uuid: [UInt8], volumeName: [UInt8]) {
        self.blockBits = blockBits
        self.inodeCount = inodeCount
        self.blocks = blocks
        self.uuid = uuid
        self.volumeName = volumeName
    }

    /// - Parameters:
    ///   - source: the image.
    ///   - length: of the image, in bytes.
    /// - Throws: `ErofsError` if the image is not one that the reader supports.
    init(reading source: some ByteSource, length: UInt64) throws {
        var bytes = [UInt8]()
        let start = Format.superblockOffset
        // The largest block that a checksum covers has 64 KiB.
        try source.read(1 << 16, at: 0, into: &bytes)
        guard bytes.count >= start + Format.superblockSize, bytes.little(at: start) == Format.magic else {
            throw ErofsError.notErofs
        }
        compatible = bytes.little(at: start + 8)
        blockBits = bytes[start + 12]
        guard (9...16).contains(blockBits) else { throw ErofsError.unsupported(.blockSize) }
        root = UInt64(bytes.little(at: start + 14, as: UInt16.self))
        inodeCount = bytes.little(at: start + 16)
        epoch = bytes.little(at: start + 24)
        nanoseconds = bytes.little(at: start + 32)
        blocks = UInt64(bytes.little(at: start + 36, as: UInt32.self))
        metadataBlock = bytes.little(at: start + 40)
        sharedAttributesBlock = bytes.little(at: start + 44)
        uuid = Array(bytes[start + 48..<start + 64])
        volumeName = Array(bytes[start + 64..<start + 80].prefix { $0 != 0 })
        incompatible = bytes.little(at: start + 80)
        let devices: UInt16 = bytes.little(at: start + 86)
        let directoryBits = bytes[start + 90]
        if compatible & Format.hasChecksum != 0 {
            let covered = start..<start + Self.checksumLength(blockBits: blockBits)
            guard covered.upperBound <= bytes.count else { throw ErofsError.corrupt(.truncated, node: nil) }
            let expected: UInt32 = bytes.little(at: start + 4)
            bytes.replaceSubrange(start + 4..<start + 8, with: repeatElement(0, count: 4))
            guard CRC32C.of(bytes[covered]) == expected else {
                throw ErofsError.corrupt(.checksum, node: nil)
            }
        }
        guard incompatible & ~(Format.chunkedFiles | Format.zeroPadding) == 0 else {
            throw ErofsError.unsupported(.features)
        }
        guard devices == 0 else { throw ErofsError.unsupported(.devices) }
        guard directoryBits == 0 else { throw ErofsError.unsupported(.directoryBlocks) }
        guard blocks << UInt64(blockBits) <= length else { throw ErofsError.corrupt(.truncated, node: nil) }
    }
}
