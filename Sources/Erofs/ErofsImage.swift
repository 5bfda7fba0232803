/// Reads an EROFS image that may be hostile: every address is checked, and no call does more work than the size of the
/// image, of the file or of the directory justifies.
///
/// It reads both forms of `ErofsWriter`, and images of mkfs.erofs without compression, chunk indexes on other devices,
/// and long prefixes of attributes. All errors are `ErofsError` or come from the source.
package struct ErofsImage: Sendable {
    let source: any ByteSource
    let superblock: Superblock
    /// In bytes, as the superblock says.
    package let length: UInt64
    /// Length of the tar in a tar-backed image of `ErofsWriter`; nil for another image.
    package let tarLength: UInt64?

    package struct Node: Sendable {
        /// Number of the node; equal for all hard links of a file.
        package let id: UInt64
        let inode: Inode

        package var kind: FileKind { inode.kind }
        /// Permission bits with setuid, setgid and sticky.
        package var mode: UInt16 { inode.mode }
        package var uid: UInt32 { inode.uid }
        package var gid: UInt32 { inode.gid }
        /// Modification time since 1970-01-01 UTC.
        package var seconds: Int64 { inode.seconds }
        package var nanoseconds: UInt32 { inode.nanoseconds }
        package var linkCount: UInt32 { inode.linkCount }
        package var size: UInt64 { inode.size }
        /// Nil for files that are not devices.
        package var device: ImageDevice? { kind.isDevice ? ImageDevice(encoded: inode.address) : nil }
        package var hasAttributes: Bool { inode.attributeCount > 0 }
    }

    /// - Parameter length: of the source, in bytes.
    package init(_ source: any ByteSource, length: UInt64) throws {
        self.source = source
        superblock = try Superblock(reading: source, length: length)
        self.length = superblock.blocks * superblock.blockSize
        if superblock.volumeName == ErofsWriter.Form.tarBacked.volumeName {
            var bytes = [UInt8]()
            try source.read(8, at: 0, into: &bytes)
            let tarLength: UInt64 = bytes.little(at: 0)
            guard self.length >= Format.headerSize, tarLength <= self.length - Format.headerSize else {
                throw ErofsError.corrupt(.tarLength, node: nil)
            }
            self.tarLength = tarLength
        } else {
            tarLength = nil
        }
    }

    package var uuid: [UInt8] { superblock.uuid }
    /// Up to the first NUL.
    package var volumeName: [UInt8] { superblock.volumeName }
    package var blockSize: Int { Int(superblock.blockSize) }
    /// Number of inodes that the superblock declares.
    package var inodeCount: UInt64 { superblock.inodeCount }

    /// Reads the root directory.
    package func root() throws -> Node {
        let node = try node(superblock.root)
        guard node.kind == .directory else { throw ErofsError.corrupt(.kind, node: node.id) }
        return node
    }

    /// Reads the inode with a number, which may come from an entry of a directory.
    package func node(_ id: UInt64) throws -> Node {
        guard id < UInt64.max / Format.slotSize else { throw ErofsError.corrupt(.outside, node: id) }
        let (offset, overflow) = (UInt64(superblock.metadataBlock) * superblock.blockSize)
            .addingReportingOverflow(id * Format.slotSize)
        guard !overflow, offset < length, length - offset >= UInt64(Format.compactInodeSize) else {
            throw ErofsError.corrupt(.outside, node: id)
        }
        let count = min(UInt64(Format.extendedInodeSize), length - offset)
        let inode = try Inode(
            parsing: try read(Int(count), at: offset, node: id),
            epoch: (superblock.epoch, superblock.nanoseconds), node: id)
        return Node(id: id, inode: inode)
    }

    /// Reads the inode of a directory entry.
    ///
    /// - Throws: `ErofsError.corrupt` also if the entry has another type than the inode.
    package func node(of entry: Entry) throws -> Node {
        let node = try node(entry.node)
        guard node.kind == entry.kind else { throw ErofsError.corrupt(.kind, node: entry.node) }
        return node
    }

    // MARK: Bytes

    /// Reads bytes of the image, all of them or none.
    func read(_ count: Int, at offset: UInt64, node: UInt64?) throws -> [UInt8] {
        guard count >= 0, offset <= length, UInt64(count) <= length - offset else {
            throw ErofsError.corrupt(.outside, node: node)
        }
        var bytes = [UInt8]()
        if count == 0 { return bytes }
        bytes.reserveCapacity(count)
        try source.read(count, at: offset, into: &bytes)
        guard bytes.count == count else { throw ErofsError.corrupt(.truncated, node: nil) }
        return bytes
    }

    /// Offset of a node's inode. The node was read, so that nothing overflows.
    func offset(of node: Node) -> UInt64 {
        UInt64(superblock.metadataBlock) * superblock.blockSize + node.id * Format.slotSize
    }

    // MARK: Attributes

    /// Reads the extended attributes of a file, without those that the kernel does not show either.
    package func attributes(of node: Node) throws -> [InodeAttribute] {
        guard node.hasAttributes else { return [] }
        let bytes = try read(
            node.inode.attributesSize, at: offset(of: node) + UInt64(node.inode.length), node: node.id)
        let (own, shared) = try AttributeCoding.parse(bytes, node: node.id)
        return try own + shared.compactMap { try sharedAttribute($0, node) }
    }

    private func sharedAttribute(_ number: UInt32, _ node: Node) throws -> InodeAttribute? {
        let offset = UInt64(superblock.sharedAttributesBlock) * superblock.blockSize + 4 * UInt64(number)
        let head = try read(Format.attributeEntrySize, at: offset, node: node.id)
        let entry = try read(AttributeCoding.entrySize(head), at: offset, node: node.id)
        var position = 0
        return try AttributeCoding.parse(entry, at: &position, node: node.id)
    }

    /// Reads all metadata of a file.
    package func metadata(of node: Node) throws -> InodeMetadata {
        node.inode.metadata(try attributes(of: node))
    }
}
