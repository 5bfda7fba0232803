/// The parts of a finished image, as ranges of its bytes.
package struct ErofsSummary: Equatable, Sendable {
    /// Length of the image, a multiple of 4096.
    package let length: UInt64
    /// The tar; empty in a packed image.
    package let tar: Range<UInt64>
    /// Data after the tar; in a packed image all data and the inodes of files.
    package let data: Range<UInt64>
    /// Inodes and directory blocks, up to the end of the image.
    package let metadata: Range<UInt64>
    /// Number of files and directories that have a name.
    package let inodeCount: UInt64
}

extension ErofsWriter {
    /// Completes the image: sorts the names, and writes what is in scratch space, directories, and at last the superblock,
    /// so that an incomplete image is never valid. Nothing can be added afterwards.
    ///
    /// - Parameter tarLength: of the tar that the caller writes from `tarOffset` on, before or after this call; 0 for a
    ///   packed image.
    /// - Throws: `ErofsError.invalidContent` if a file uses data after the end of the tar.
    package mutating func finish(tarLength: UInt64 = 0) throws -> ErofsSummary {
        precondition(form == .tarBacked || tarLength == 0)
        precondition(uuid.count == 16)
        guard tarLength <= UInt64(Int64.max) / 2 else { throw ErofsError.imageTooLarge }
        names.releaseIndex()
        var tree = try sortedTree()
        let tar = Format.headerSize..<Format.headerSize + tarLength
        guard tarEnd <= tar.upperBound else { throw ErofsError.invalidContent }
        let dataStart = tar.upperBound.aligned(to: blockSize)
        // Offset of the unit that slots count from, and the first offset for directories' inodes.
        var base: UInt64 = 0
        var position: UInt64
        if form == .tarBacked {
            try image.seek(to: dataStart)
            try copyData()
            base = image.end
            try copyInodes(relativeTo: dataStart)
            position = image.end
        } else {
            position = room.upperBound == image.end && !room.isEmpty ? room.lowerBound : image.end
        }
        tree.base = base / Format.slotSize
        let metadataStart = form == .tarBacked ? base : position
        try place(&tree, from: &position)
        let inodeCount = fileCount - removedCount + tree.directoryCount
        try writeInodes(of: tree)
        try image.align(to: blockSize)
        try writeBlocks(of: tree)
        var superblock = Superblock(
            blockBits: blockBits, inodeCount: inodeCount, blocks: 0, uuid: uuid, volumeName: form.volumeName)
        if !sharedAttributes.isEmpty {
            try image.align(to: blockSize)
            superblock.sharedAttributesBlock = try block(of: image.end)
            try image.append(sharedAttributes)
        }
        try image.align(to: Format.headerSize)
        let length = image.end
        try image.extend(to: length)
        superblock.blocks = length / blockSize
        guard superblock.blocks <= UInt64(UInt32.max) else { throw ErofsError.imageTooLarge }
        superblock.incompatible = hasChunks ? Format.chunkedFiles : 0
        try writeHeader(&superblock, tree, tarLength: tarLength)
        return ErofsSummary(
            length: length, tar: tar, data: dataStart..<metadataStart, metadata: metadataStart..<length,
            inodeCount: inodeCount)
    }

    // MARK: The tree

    /// Directories with their names in order.
    struct SortedTree {
        /// Records of the name table by directory, each directory sorted.
        var order: [UInt32]
        /// Start of each directory in `order`, and the end.
        var starts: [UInt32]
        /// Number of the node by directory; 0 for a removed one.
        var nodes: [UInt64]
        /// Number of subdirectories by directory.
        var subdirectories: [UInt32]
        /// Size of each directory: all blocks but the last, and the used part of the last.
        var sizes: [UInt64]
        /// First block of each directory's blocks.
        var blocks: [UInt32]
        var directoryCount: UInt64 = 0
        /// Slot 0 of files' inodes as a node number.
        var base: UInt64 = 0

        func names(of directory: Int) -> ArraySlice<UInt32> {
            order[Int(starts[directory])..<Int(starts[directory + 1])]
        }
    }

    private mutating func sortedTree() throws -> SortedTree {
        let count = parents.count
        var nodes = [UInt64](repeating: 0, count: count)
        nodes[0] = Format.rootNode
        // A directory comes after its parent.
        for directory in 1..<max(count, 1) where !descriptions[directory].isRemoved {
            nodes[directory] = nodes[Int(parents[directory])] == 0 ? 0 : 1
        }
        var starts = [UInt32](repeating: 0, count: count + 1)
        var subdirectories = [UInt32](repeating: 0, count: count)
        for record in 0..<names.count {
            let target = names[record]
            guard let kind = target.kind else { continue }
            let directory = Int(names.directory(of: record))
            if nodes[directory] == 0 {
                if kind != .directory { try unlink(NodeID(slot: target.value)) }
                names[record].kind = nil
            } else {
                starts[directory + 1] += 1
                if kind == .directory { subdirectories[directory] += 1 }
            }
        }
        for directory in 0..<count { starts[directory + 1] += starts[directory] }
        var order = [UInt32](repeating: 0, count: Int(starts[count]))
        var next = starts
        for record in 0..<names.count where names[record].kind != nil {
            let directory = Int(names.directory(of: record))
            order[Int(next[directory])] = UInt32(record)
            next[directory] += 1
        }
        for directory in 0..<count {
            names.sort(&order, in: Int(starts[directory])..<Int(starts[directory + 1]))
        }
        var tree = SortedTree(
            order: order, starts: starts, nodes: nodes, subdirectories: subdirectories,
            sizes: [UInt64](repeating: 0, count: count), blocks: [UInt32](repeating: 0, count: count))
        for directory in 0..<count where nodes[directory] != 0 {
            tree.sizes[directory] = DirectoryEntries.size(
                tree.names(of: directory), names, blockSize: blockSize)
        }
        return tree
    }

    /// Assigns node numbers and blocks to all directories.
    ///
    /// - Parameter position: offset of the first free byte for inodes.
    private mutating func place(_ tree: inout SortedTree, from position: inout UInt64) throws {
        for directory in tree.nodes.indices where tree.nodes[directory] != 0 {
            guard descriptions[directory].offset != nil else { throw ErofsError.undescribedDirectory }
            tree.directoryCount += 1
            if directory == 0 { continue }
            let shape = shape(of: directory, tree)
            let size = shape.inodeSize + shape.tailSize
            let left = position.padding(to: blockSize)
            if size > left { position += left }
            tree.nodes[directory] = position / Format.slotSize
            position = (position + size).aligned(to: Format.slotSize)
        }
        // The blocks of the inodes come first.
        var block = position.aligned(to: blockSize) / blockSize
        for directory in tree.nodes.indices where tree.nodes[directory] != 0 {
            tree.blocks[directory] = try self.block(of: block * blockSize)
            block += shape(of: directory, tree).blockCount
        }
    }

    /// Sizes of one directory.
    private struct Shape {
        /// Of the names with their entries.
        let size: UInt64
        /// Inode and attributes.
        let inodeSize: UInt64
        /// Part of the last block after the inode; 0 if it has a block.
        let tailSize: UInt64
        let blockCount: UInt64
    }

    private func shape(of directory: Int, _ tree: SortedTree) -> Shape {
        let size = tree.sizes[directory]
        let count = Int(descriptions[directory].attributeCount)
        let attributesSize = count == 0 ? 0 : Format.attributeHeaderSize + 4 * (count - 1)
        let inodeSize = UInt64(Format.extendedInodeSize + attributesSize)
        let last = size & (blockSize - 1)
        let space = directory == 0 ? Format.headerSize - Format.rootOffset : blockSize
        let isInline = form == .packed && last > 0 && inodeSize + last <= space
        return Shape(
            size: size, inodeSize: inodeSize, tailSize: isInline ? last : 0,
            blockCount: size / blockSize + (last > 0 && !isInline ? 1 : 0))
    }

    // MARK: Copying

    private mutating func copyData() throws {
        try data.flush()
        var piece = [UInt8]()
        var offset: UInt64 = 0
        while offset < data.end {
            let count = min(UInt64(BufferedStore.capacity), data.end - offset)
            try data.readStored(Int(count), at: offset, into: &piece)
            // Padding of files with holes becomes a hole of the image.
            if piece.allSatisfy({ $0 == 0 }) {
                try image.seek(to: image.end + count)
            } else {
                try image.append(piece)
            }
            offset += count
        }
    }

    /// Copies the inodes of files, and completes the addresses of data after the tar.
    private mutating func copyInodes(relativeTo dataStart: UInt64) throws {
        try inodes.flush()
        let start = dataStart / blockSize
        var piece = [UInt8]()
        var offset: UInt64 = 0
        var list = 0
        var done: UInt64 = 0
        while offset < inodes.end {
            let count = min(UInt64(BufferedStore.capacity), inodes.end - offset)
            try inodes.readStored(Int(count), at: offset, into: &piece)
            while list < relativeAddresses.count {
                let position = relativeAddresses[list] + 4 * done
                guard position < offset + count else { break }
                let index = Int(position - offset)
                let address: UInt32 = piece.little(at: index)
                if address != Format.noBlock {
                    let block = try block(of: (start + UInt64(address)) * blockSize)
                    for byte in 0..<4 {
                        piece[index + byte] = UInt8(truncatingIfNeeded: block >> UInt32(8 * byte))
                    }
                }
                done += 1
                if done == UInt64(relativeCounts[list]) {
                    list += 1
                    done = 0
                }
            }
            try image.append(piece)
            offset += count
        }
    }

    // MARK: Directories

    /// Replaces the content of `record` with the complete inode of a directory, its attributes, and the end of its names
    /// if that is inline.
    private mutating func completeInode(of directory: Int, number: UInt32, _ tree: SortedTree) throws {
        guard let offset = descriptions[directory].offset else { throw ErofsError.undescribedDirectory }
        let shape = shape(of: directory, tree)
        try directories.read(Int(shape.inodeSize), at: offset, into: &attributes)
        var inode = try Inode(parsing: attributes, node: 0)
        attributes.removeFirst(Format.extendedInodeSize)
        inode.size = shape.size
        inode.layout = shape.tailSize > 0 ? .inline : .plain
        inode.address = shape.blockCount > 0 ? tree.blocks[directory] : Format.noBlock
        inode.linkCount = 2 + tree.subdirectories[directory]
        inode.number = number
        beginRecord(inode)
        if shape.tailSize > 0 { record += lastBlock(of: directory, tree) }
    }

    private mutating func writeInodes(of tree: SortedTree) throws {
        var number = 1 + fileCount
        var isFirst = true
        for directory in tree.nodes.indices.dropFirst() where tree.nodes[directory] != 0 {
            number += 1
            try completeInode(of: directory, number: UInt32(truncatingIfNeeded: number), tree)
            let offset = tree.nodes[directory] * Format.slotSize
            if isFirst {
                try image.seek(to: offset)
                isFirst = false
            }
            try image.appendZeros(offset - image.end)
            try image.append(record)
        }
    }

    private mutating func writeBlocks(of tree: SortedTree) throws {
        for directory in tree.nodes.indices where tree.nodes[directory] != 0 {
            let shape = shape(of: directory, tree)
            guard shape.blockCount > 0 else { continue }
            var block = DirectoryBlock(blockSize: blockSize)
            var entries = DirectoryEntries(tree.names(of: directory))
            while let entry = entries.next(names) {
                if block.add(entry, names) { continue }
                try write(block, of: directory, tree)
                block.removeAll()
                _ = block.add(entry, names)
            }
            if shape.tailSize == 0 { try write(block, of: directory, tree) }
        }
    }

    private mutating func write(_ block: DirectoryBlock, of directory: Int, _ tree: SortedTree) throws {
        try image.append(encoded(block, of: directory, tree))
        try image.align(to: blockSize)
    }

    /// Returns the bytes of a block, without padding.
    private func encoded(_ block: DirectoryBlock, of directory: Int, _ tree: SortedTree) -> [UInt8] {
        var bytes = [UInt8]()
        bytes.reserveCapacity(Int(blockSize))
        block.append(to: &bytes, names) { target(of: $0, in: directory, tree) }
        return bytes
    }

    /// Returns the last block of a directory, without padding.
    private func lastBlock(of directory: Int, _ tree: SortedTree) -> [UInt8] {
        var block = DirectoryBlock(blockSize: blockSize)
        var entries = DirectoryEntries(tree.names(of: directory))
        while let entry = entries.next(names) {
            if block.add(entry, names) { continue }
            block.removeAll()
            _ = block.add(entry, names)
        }
        return encoded(block, of: directory, tree)
    }

    @inline(__always) private func target(
        of entry: DirectoryEntries.Entry, in directory: Int, _ tree: SortedTree
    ) -> (node: UInt64, kind: FileKind) {
        switch entry {
        case .itself: return (tree.nodes[directory], .directory)
        case .parent: return (tree.nodes[Int(parents[directory])], .directory)
        case .name(let record):
            let target = names[record]
            let kind = target.kind ?? .regular
            if kind == .directory { return (tree.nodes[Int(target.value)], kind) }
            let slot = moved.isEmpty ? target.value : moved[target.value] ?? target.value
            return (tree.base + slot, kind)
        }
    }

    // MARK: The header

    /// Encodes the attributes of the root into `attributes`, those that do not fit beside its inode into
    /// `sharedAttributes`.
    mutating func encodeRootAttributes(_ list: [InodeAttribute]) throws {
        sharedAttributes = []
        try AttributeCoding.encode(list, into: &attributes)
        let space = Int(Format.headerSize - Format.rootOffset) - Format.extendedInodeSize
        if attributes.count > space {
            (attributes, sharedAttributes) = try AttributeCoding.encodeShared(list)
        }
    }

    private mutating func writeHeader(_ superblock: inout Superblock, _ tree: SortedTree, tarLength: UInt64)
        throws
    {
        try completeInode(of: 0, number: 1, tree)
        var header = [UInt8]()
        header.append(little: tarLength)
        header.append(contentsOf: repeatElement(0, count: Int(Format.rootOffset) - header.count))
        header += record
        header.append(contentsOf: repeatElement(0, count: Int(Format.headerSize) - header.count))
        superblock.encode(into: &header)
        try image.seek(to: 0)
        try image.append(header)
        try image.flush()
    }
}

extension ErofsWriter.Form {
    /// Name and version of the form. A change of the bytes for the same tree changes it.
    package var volumeName: [UInt8] { Array((self == .tarBacked ? "unpack-B1" : "unpack-A1").utf8) }
}
