extension ErofsWriter {
    // MARK: Data

    /// Begins a regular file whose data `append` adds.
    package mutating func beginContent(size: UInt64) throws {
        guard size <= UInt64(Int64.max) else { throw ErofsError.fileTooLarge }
        content = FileContent(size: size)
        tail.removeAll(keepingCapacity: true)
    }

    /// Appends data of the regular file that `beginContent` began. What is left out is a hole.
    ///
    /// - Parameter offset: in the file; not before the end of the data so far.
    package mutating func append(_ bytes: ArraySlice<UInt8>, at offset: UInt64) throws {
        guard !bytes.isEmpty else { return }
        guard let content, !content.isInTar, offset >= content.end, offset <= content.size,
            UInt64(bytes.count) <= content.size - offset
        else { throw ErofsError.invalidContent }
        if content.open == nil || offset > content.end { try skip(to: offset) }
        try appendData(bytes)
        self.content?.open?.end += UInt64(bytes.count)
    }

    /// Uses data of the tar as the next regular file, so that `append` is not needed.
    ///
    /// - Returns: whether that is possible: the image has a tar, and each segment begins and ends at a multiple of 512
    ///   bytes or at the end of the file. Otherwise the caller appends the data.
    package mutating func useTar(_ segments: [TarSegment], size: UInt64) -> Bool {
        guard form == .tarBacked, size <= UInt64(Int64.max),
            let content = FileContent(size: size, tar: segments, blockSize: blockSize)
        else { return false }
        self.content = content
        return true
    }

    /// Uses contiguous data of the tar as the next regular file, as `useTar(_:size:)` does.
    package mutating func useTar(at offset: UInt64, size: UInt64) -> Bool {
        guard form == .tarBacked, size <= UInt64(Int64.max),
            let content = FileContent(size: size, tarOffset: offset, blockSize: blockSize)
        else { return false }
        self.content = content
        return true
    }

    /// Continues the content after a hole, which may be too small to stay one.
    private mutating func skip(to offset: UInt64) throws {
        guard var content else { return }
        let granule = content.granule
        let start = offset / granule * granule
        let end = content.end
        if var open = content.open {
            let padded = min(end.aligned(to: granule), content.size)
            if start <= padded {
                open.end = offset
                content.open = open
                self.content = content
                return try appendDataZeros(offset - end)
            }
            try appendDataZeros(padded - end)
            try appendTail()
            open.end = padded
            content.extents.append(open)
        }
        content.open = Extent(start: start, end: offset, location: form == .packed ? image.end : data.end)
        self.content = content
        try appendDataZeros(offset - start)
    }

    /// Appends to the data area in whole blocks; an incomplete one stays in `tail`.
    private mutating func appendData(_ bytes: ArraySlice<UInt8>) throws {
        var rest = bytes
        if !tail.isEmpty {
            let piece = rest.prefix(Int(blockSize) - tail.count)
            tail += piece
            rest = rest.dropFirst(piece.count)
            if tail.count < blockSize { return }
            try appendTail()
        }
        let whole = rest.count & ~(Int(blockSize) - 1)
        if form == .packed {
            try image.append(rest.prefix(whole))
        } else {
            try data.append(rest.prefix(whole))
        }
        tail += rest.dropFirst(whole)
    }

    private mutating func appendDataZeros(_ count: UInt64) throws {
        var rest = count
        if !tail.isEmpty {
            let piece = min(rest, blockSize - UInt64(tail.count))
            tail.append(contentsOf: repeatElement(0, count: Int(piece)))
            rest -= piece
            if tail.count < blockSize { return }
            try appendTail()
        }
        let whole = rest & ~(blockSize - 1)
        if form == .packed { try image.appendZeros(whole) } else { try data.appendZeros(whole) }
        tail.append(contentsOf: repeatElement(0, count: Int(rest - whole)))
    }

    /// Moves the incomplete last block into the data area and pads it.
    mutating func appendTail() throws {
        guard !tail.isEmpty else { return }
        tail.append(contentsOf: repeatElement(0, count: Int(UInt64(tail.count).padding(to: blockSize))))
        if form == .packed { try image.append(tail) } else { try data.append(tail) }
        tail.removeAll(keepingCapacity: true)
    }

    // MARK: Files

    /// Creates the regular file whose content was set by `useTar`, or by `beginContent` and `append`, in place of any
    /// file that has the name.
    ///
    /// - Returns: the file, and whether another one was replaced.
    @discardableResult
    package mutating func addRegular(
        _ metadata: InodeMetadata, as name: ArraySlice<UInt8>, in directory: DirectoryID
    ) throws -> (node: NodeID, hasReplaced: Bool) {
        guard let content else { throw ErofsError.invalidContent }
        self.content = nil
        var inode = try prepare(.regular, metadata, as: name, in: directory)
        inode.size = content.size
        if content.isInTar { tarEnd = max(tarEnd, content.locationEnd) }
        let slot = content.isInTar ? try place(&inode, inTar: content) : try place(&inode, appended: content)
        return try finish(slot, .regular, as: name, in: directory)
    }

    @discardableResult
    package mutating func addSymlink(
        to target: ArraySlice<UInt8>, _ metadata: InodeMetadata, as name: ArraySlice<UInt8>,
        in directory: DirectoryID
    ) throws -> (node: NodeID, hasReplaced: Bool) {
        guard (1...Format.maximumTargetLength).contains(target.count), !target.contains(0) else {
            throw ErofsError.invalidTarget
        }
        var inode = try prepare(.symlink, metadata, as: name, in: directory)
        inode.size = UInt64(target.count)
        tail.removeAll(keepingCapacity: true)
        tail += target
        return try finish(try placeTail(&inode), .symlink, as: name, in: directory)
    }

    /// - Parameters:
    ///   - kind: a FIFO, a socket, or a device.
    ///   - device: needed by a device only.
    @discardableResult
    package mutating func addSpecial(
        _ kind: FileKind, device: ImageDevice? = nil, _ metadata: InodeMetadata,
        as name: ArraySlice<UInt8>, in directory: DirectoryID
    ) throws -> (node: NodeID, hasReplaced: Bool) {
        precondition(kind.isDevice || kind == .fifo || kind == .socket)
        let encoded = kind.isDevice ? device?.encoded : 0
        guard let encoded else { throw ErofsError.invalidDevice }
        var inode = try prepare(kind, metadata, as: name, in: directory)
        inode.address = encoded
        return try finish(try place(inode), kind, as: name, in: directory)
    }

    /// Checks a new file and encodes its attributes, before anything of it is stored.
    private mutating func prepare(
        _ kind: FileKind, _ metadata: InodeMetadata, as name: ArraySlice<UInt8>, in directory: DirectoryID
    ) throws -> Inode {
        try check(name, in: directory)
        guard metadata.nanoseconds < 1_000_000_000 else { throw ErofsError.invalidTime }
        try AttributeCoding.encode(metadata.attributes, into: &attributes)
        fileCount += 1
        var inode = Inode(kind, metadata, layout: .plain, linkCount: 1)
        inode.attributeCount = Inode.attributeCount(ofSize: attributes.count)
        // The root has number 1.
        inode.number = UInt32(truncatingIfNeeded: 1 + fileCount)
        return inode
    }

    private mutating func finish(
        _ slot: UInt64, _ kind: FileKind, as name: ArraySlice<UInt8>, in directory: DirectoryID
    ) throws -> (node: NodeID, hasReplaced: Bool) {
        let hasReplaced = try setName(name, in: directory, NameTable.Target(value: slot, kind: kind))
        return (NodeID(slot: slot), hasReplaced)
    }

    // MARK: Content

    private mutating func place(_ inode: inout Inode, inTar content: FileContent) throws -> UInt64 {
        let first = content.open ?? content.extents.first
        if let first, first.start == 0, first.end == content.size {
            return try placePlain(&inode, at: first.location, isRelative: false)
        }
        return try place(&inode, content.extents, isRelative: false)
    }

    private mutating func place(_ inode: inout Inode, appended content: FileContent) throws -> UInt64 {
        let size = content.size
        let isRelative = form == .tarBacked
        guard var open = content.open else {
            return try place(&inode, content.extents, isRelative: isRelative)
        }
        let padded = min(open.end.aligned(to: content.granule), size)
        try appendDataZeros(padded - open.end)
        open.end = padded
        guard content.extents.isEmpty, open.start == 0, open.end == size else {
            try appendTail()
            return try place(&inode, content.extents + CollectionOfOne(open), isRelative: isRelative)
        }
        if form == .packed, !tail.isEmpty, fitsInline(tail.count) {
            inode.address = try size < blockSize ? Format.noBlock : block(of: open.location)
            return try placeInline(&inode)
        }
        try appendTail()
        return try placePlain(&inode, at: open.location, isRelative: isRelative)
    }

    mutating func place(_ inode: inout Inode, _ extents: [Extent], isRelative: Bool) throws -> UInt64 {
        guard inode.size > 0 else {
            inode.address = Format.noBlock
            return try place(inode)
        }
        guard let chunks = Chunks(extents, size: inode.size, blockSize: blockSize) else {
            throw ErofsError.fileTooLarge
        }
        hasChunks = true
        inode.layout = .chunked
        inode.address = UInt32(chunks.bits)
        beginRecord(inode)
        record.reserveCapacity(record.count + 4 * chunks.blocks.count)
        for block in chunks.blocks { record.append(little: block) }
        let slot = try storeRecord()
        if isRelative {
            let index = slot * Format.slotSize + UInt64(Format.extendedInodeSize + attributes.count)
            addRelativeAddresses(at: index, count: chunks.blocks.count)
        }
        return slot
    }

    mutating func placePlain(_ inode: inout Inode, at location: UInt64, isRelative: Bool) throws -> UInt64 {
        inode.address = try block(of: location)
        let slot = try place(inode)
        if isRelative { addRelativeAddresses(at: slot * Format.slotSize + Inode.addressOffset, count: 1) }
        return slot
    }

    /// Places the inode with the content of `tail` after it.
    mutating func placeInline(_ inode: inout Inode) throws -> UInt64 {
        inode.layout = .inline
        beginRecord(inode)
        record += tail
        tail.removeAll(keepingCapacity: true)
        return try storeRecord()
    }

    /// Places the inode of a file that has its whole data, less than 4096 bytes, in `tail`.
    mutating func placeTail(_ inode: inout Inode) throws -> UInt64 {
        if fitsInline(tail.count) {
            inode.address = Format.noBlock
            return try placeInline(&inode)
        }
        let location = form == .packed ? image.end : data.end
        let bytes = tail
        tail.removeAll(keepingCapacity: true)
        try appendData(bytes[...])
        try appendTail()
        return try placePlain(&inode, at: location, isRelative: form == .tarBacked)
    }

    mutating func addRelativeAddresses(at offset: UInt64, count: Int) {
        relativeAddresses.append(offset)
        relativeCounts.append(UInt32(count))
    }

    func block(of location: UInt64) throws(ErofsError) -> UInt32 {
        let block = location / blockSize
        guard block < UInt64(Format.noBlock) else { throw .imageTooLarge }
        return UInt32(block)
    }

    /// Whether so many bytes fit into one block with an inode and its attributes.
    func fitsInline(_ count: Int) -> Bool {
        Format.extendedInodeSize + attributes.count + count <= Int(blockSize)
    }
}
