extension ErofsWriter {
    // MARK: Storing

    /// Begins `record` with an inode and `attributes`. The caller may append to it.
    @inline(__always) mutating func beginRecord(_ inode: Inode) {
        record.removeAll(keepingCapacity: true)
        inode.append(to: &record)
        record += attributes
    }

    /// Stores `record`. It crosses a block only if it is larger than one.
    ///
    /// - Returns: its slot.
    mutating func storeRecord() throws -> UInt64 {
        let size = UInt64(record.count)
        let offset: UInt64
        if form == .tarBacked {
            let left = inodes.end.padding(to: blockSize)
            if size > left { try inodes.appendZeros(left) }
            offset = inodes.end
            try inodes.append(record)
            try inodes.align(to: Format.slotSize)
        } else if size <= room.upperBound - room.lowerBound {
            offset = room.lowerBound
            try image.write(record, at: offset)
            let end = (offset + size).aligned(to: Format.slotSize)
            room = min(end, room.upperBound)..<room.upperBound
        } else {
            offset = image.end
            try image.append(record)
            let end = image.end.aligned(to: Format.slotSize)
            try image.align(to: blockSize)
            room = end..<image.end
        }
        let slot = offset / Format.slotSize
        guard slot <= NameTable.maximumValue else { throw ErofsError.imageTooLarge }
        return slot
    }

    mutating func place(_ inode: Inode) throws -> UInt64 {
        beginRecord(inode)
        return try storeRecord()
    }

    // MARK: Reading back and changing

    /// Returns the metadata of a file.
    package mutating func metadata(of node: NodeID) throws -> InodeMetadata {
        let inode = try inode(of: node)
        var bytes = [UInt8]()
        if inode.attributeCount > 0 {
            try readInode(node, from: Format.extendedInodeSize, inode.attributesSize, into: &bytes)
        }
        return inode.metadata(try bytes.isEmpty ? [] : AttributeCoding.parse(bytes, node: node.slot).own)
    }

    /// Returns the metadata of a directory; nil if it has none yet, or was removed.
    package mutating func metadata(of directory: DirectoryID) throws -> InodeMetadata? {
        let description = descriptions[Int(directory.index)]
        guard let offset = description.offset, !description.isRemoved else { return nil }
        var bytes = [UInt8]()
        try directories.read(Format.extendedInodeSize, at: offset, into: &bytes)
        let inode = try Inode(parsing: bytes, node: 0)
        var list = [InodeAttribute]()
        if directory == Self.root, !sharedAttributes.isEmpty {
            var position = 0
            while position < sharedAttributes.count {
                let attribute = try AttributeCoding.parse(sharedAttributes, at: &position, node: 0)
                if let attribute { list.append(attribute) }
            }
        } else if inode.attributeCount > 0 {
            let start = offset + UInt64(Format.extendedInodeSize)
            try directories.read(inode.attributesSize, at: start, into: &bytes)
            list = try AttributeCoding.parse(bytes, node: 0).own
        }
        return inode.metadata(list)
    }

    /// Returns the target of a symlink.
    package mutating func target(of node: NodeID) throws -> [UInt8] {
        let inode = try inode(of: node)
        guard inode.kind == .symlink else { throw ErofsError.missing }
        var target = [UInt8]()
        if inode.layout == .inline {
            try readInode(
                node, from: Format.extendedInodeSize + inode.attributesSize, Int(inode.size), into: &target)
        } else {
            let location = UInt64(inode.address) * blockSize
            if form == .packed {
                try image.read(Int(inode.size), at: location, into: &target)
            } else {
                try data.read(Int(inode.size), at: location, into: &target)
            }
        }
        return target
    }

    /// Replaces the metadata of a file, with all its attributes.
    package mutating func setMetadata(of node: NodeID, _ metadata: InodeMetadata) throws {
        guard metadata.nanoseconds < 1_000_000_000 else { throw ErofsError.invalidTime }
        let old = try inode(of: node)
        try AttributeCoding.encode(metadata.attributes, into: &attributes)
        var inode = Inode(old.kind, metadata, layout: old.layout, linkCount: old.linkCount)
        inode.size = old.size
        inode.address = old.address
        inode.number = old.number
        inode.attributeCount = Inode.attributeCount(ofSize: attributes.count)
        if inode.attributeCount == old.attributeCount {
            beginRecord(inode)
            try writeInode(node, at: 0, record)
        } else {
            moved[node.slot] = try storeAgain(
                &inode, node, from: Format.extendedInodeSize + old.attributesSize)
        }
    }

    /// Stores an inode with attributes of another size at a new place.
    ///
    /// - Parameter offset: where the data or the index after the old attributes begins, from the inode on.
    private mutating func storeAgain(_ inode: inout Inode, _ node: NodeID, from offset: Int) throws -> UInt64
    {
        let oldSlot = present(node)
        switch inode.layout {
        case .plain:
            let slot = try place(inode)
            if isRelative(oldSlot * Format.slotSize + Inode.addressOffset) {
                addRelativeAddresses(at: slot * Format.slotSize + Inode.addressOffset, count: 1)
            }
            return slot
        case .chunked:
            let chunkSize = blockSize << UInt64(inode.address)
            let count = Int((inode.size - 1) / chunkSize + 1)
            var index = [UInt8]()
            try readInode(node, from: offset, 4 * count, into: &index)
            beginRecord(inode)
            record += index
            let slot = try storeRecord()
            if isRelative(oldSlot * Format.slotSize + UInt64(offset)) {
                let attributesEnd = Format.extendedInodeSize + attributes.count
                addRelativeAddresses(at: slot * Format.slotSize + UInt64(attributesEnd), count: count)
            }
            return slot
        case .inline:
            let whole = inode.size & ~(blockSize - 1)
            var bytes = [UInt8]()
            try readInode(node, from: offset, Int(inode.size - whole), into: &bytes)
            tail = bytes
            if whole == 0 {
                inode.layout = .plain
                return try placeTail(&inode)
            }
            if fitsInline(tail.count) { return try placeInline(&inode) }
            // The last block cannot be stored after the others any more.
            let end = Extent(start: whole, end: inode.size, location: image.end)
            try appendTail()
            let start = Extent(start: 0, end: whole, location: UInt64(inode.address) * blockSize)
            return try place(&inode, [start, end], isRelative: false)
        }
    }

    /// Whether the address at an offset in the metadata is relative to the data after the tar.
    private func isRelative(_ offset: UInt64) -> Bool {
        var range = 0..<relativeAddresses.count
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            if relativeAddresses[middle] == offset { return true }
            range =
                relativeAddresses[middle] < offset ? middle + 1..<range.upperBound : range.lowerBound..<middle
        }
        return false
    }

    // MARK: Links

    mutating func linkCount(of node: NodeID) throws -> UInt32 {
        var bytes = [UInt8]()
        try readInode(node, from: Int(Inode.linkCountOffset), 4, into: &bytes)
        return bytes.little(at: 0)
    }

    mutating func setLinkCount(of node: NodeID, _ count: UInt32) throws {
        record.removeAll(keepingCapacity: true)
        record.append(little: count)
        try writeInode(node, at: Inode.linkCountOffset, record)
    }

    /// Removes one name of a file from its link count.
    mutating func unlink(_ node: NodeID) throws {
        let links = try linkCount(of: node)
        if links == 1 { removedCount += 1 }
        try setLinkCount(of: node, links - 1)
    }

    // MARK: Access

    private func present(_ node: NodeID) -> UInt64 {
        moved.isEmpty ? node.slot : moved[node.slot] ?? node.slot
    }

    private mutating func inode(of node: NodeID) throws -> Inode {
        var bytes = [UInt8]()
        try readInode(node, from: 0, Format.extendedInodeSize, into: &bytes)
        return try Inode(parsing: bytes, node: node.slot)
    }

    private mutating func readInode(
        _ node: NodeID, from start: Int, _ count: Int, into bytes: inout [UInt8]
    ) throws {
        let offset = present(node) * Format.slotSize + UInt64(start)
        if form == .packed {
            try image.read(count, at: offset, into: &bytes)
        } else {
            try inodes.read(count, at: offset, into: &bytes)
        }
    }

    private mutating func writeInode(_ node: NodeID, at start: UInt64, _ bytes: [UInt8]) throws {
        let offset = present(node) * Format.slotSize + start
        if form == .packed {
            try image.write(bytes, at: offset)
        } else {
            try inodes.write(bytes, at: offset)
        }
    }
}
