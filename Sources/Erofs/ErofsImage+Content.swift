extension ErofsImage {
    /// A range of a file with consecutive data, or a hole.
    package struct Stretch: Equatable, Sendable {
        /// End in the file.
        package let end: UInt64
        /// Offset in the image of the data at the requested position; nil for a hole.
        package let location: UInt64?
    }

    /// Finds the data at a position in a regular file, a symlink or a directory. A stretch may end before the data does.
    ///
    /// - Parameter position: less than the size of the file.
    package func stretch(of node: Node, at position: UInt64) throws -> Stretch {
        let inode = node.inode
        guard position < inode.size,
            inode.kind == .regular || inode.kind == .directory || inode.kind == .symlink
        else { throw ErofsError.corrupt(.size, node: node.id) }
        switch inode.layout {
        case .plain:
            if hasNoBlock(inode) { return Stretch(end: inode.size, location: nil) }
            return try flat(node, from: position, to: inode.size)
        case .inline:
            let whole = (inode.size - 1) & ~(superblock.blockSize - 1)
            if position < whole { return try flat(node, from: position, to: whole) }
            let start = offset(of: node) + UInt64(inode.length + inode.attributesSize)
            // An inline end of a whole block is impossible beside its inode.
            guard start % superblock.blockSize + (inode.size - whole) <= superblock.blockSize else {
                throw ErofsError.corrupt(.inlineData, node: node.id)
            }
            return try checked(Stretch(end: inode.size, location: start + (position - whole)), position, node)
        case .chunked: return try chunk(node, at: position)
        }
    }

    /// Reads data of a file.
    ///
    /// - Parameters:
    ///   - position: in the file.
    ///   - limit: of bytes to read.
    ///   - buffer: its content is replaced with the data; it becomes empty at the end of the file only.
    package func read(_ node: Node, at position: UInt64, limit: Int, into buffer: inout [UInt8]) throws {
        buffer.removeAll(keepingCapacity: true)
        guard position < node.size, limit > 0 else { return }
        let stretch = try stretch(of: node, at: position)
        let count = Int(min(UInt64(limit), stretch.end - position))
        if let location = stretch.location {
            try source.read(count, at: location, into: &buffer)
            guard buffer.count == count else { throw ErofsError.corrupt(.truncated, node: nil) }
        } else {
            buffer.append(contentsOf: repeatElement(0, count: count))
        }
    }

    /// Reads the target of a symlink.
    package func target(of node: Node) throws -> [UInt8] {
        guard node.kind == .symlink else { throw ErofsError.corrupt(.wrongKind, node: node.id) }
        guard (1...UInt64(Format.maximumTargetLength)).contains(node.size) else {
            throw ErofsError.corrupt(.target, node: node.id)
        }
        var target = [UInt8]()
        var piece = [UInt8]()
        while target.count < node.size {
            try read(node, at: UInt64(target.count), limit: Int(node.size) - target.count, into: &piece)
            target += piece
        }
        guard !target.contains(0) else { throw ErofsError.corrupt(.target, node: node.id) }
        return target
    }

    // MARK: Layouts

    private func hasNoBlock(_ inode: Inode) -> Bool {
        inode.address == Format.noBlock && inode.highAddress == 0
    }

    private func flat(_ node: Node, from position: UInt64, to end: UInt64) throws -> Stretch {
        let block = UInt64(node.inode.highAddress) << 32 | UInt64(node.inode.address)
        return try checked(
            Stretch(end: end, location: block * superblock.blockSize + position), position, node)
    }

    /// Checks that data is in the image.
    private func checked(_ stretch: Stretch, _ position: UInt64, _ node: Node) throws -> Stretch {
        guard let location = stretch.location, location < length, stretch.end - position <= length - location
        else {
            throw ErofsError.corrupt(.outside, node: node.id)
        }
        return stretch
    }

    /// Finds the chunk at a position, with those that follow it in the file and in the image.
    private func chunk(_ node: Node, at position: UInt64) throws -> Stretch {
        let inode = node.inode
        let format = UInt16(truncatingIfNeeded: inode.address)
        guard format & ~(Format.chunkBits | Format.chunkHasIndexes) == 0 else {
            throw ErofsError.unsupported(.chunkFormat)
        }
        let hasIndexes = format & Format.chunkHasIndexes != 0
        let unit: UInt64 = hasIndexes ? 8 : 4
        let bits = UInt64(superblock.blockBits) + UInt64(format & Format.chunkBits)
        let table = (offset(of: node) + UInt64(inode.length + inode.attributesSize)).aligned(to: unit)
        let first = position >> bits
        let last = (inode.size - 1) >> bits
        // One read of up to 4 KiB finds the chunks that follow.
        let count = min(last - first + 1, 4096 / unit)
        let (entry, overflow) = table.addingReportingOverflow(first * unit)
        guard !overflow else { throw ErofsError.corrupt(.outside, node: node.id) }
        let bytes = try read(Int(count * unit), at: entry, node: node.id)
        func block(_ index: Int) throws -> UInt64? {
            guard hasIndexes else {
                let block: UInt32 = bytes.little(at: 4 * index)
                return block == Format.noBlock ? nil : UInt64(block)
            }
            let block: UInt32 = bytes.little(at: 8 * index + 4)
            if block == Format.noBlock { return nil }
            guard bytes.little(at: 8 * index + 2, as: UInt16.self) == 0 else {
                throw ErofsError.unsupported(.devices)
            }
            return UInt64(block)
        }
        let start = try block(0)
        var run: UInt64 = 1
        let blocksPerChunk = 1 << (bits - UInt64(superblock.blockBits))
        while run < count, try block(Int(run)) == start.map({ $0 + run * UInt64(blocksPerChunk) }) {
            run += 1
        }
        let end = first + run > last ? inode.size : (first + run) << bits
        guard let start else { return Stretch(end: end, location: nil) }
        let location = start * superblock.blockSize + (position - first << bits)
        return try checked(Stretch(end: end, location: location), position, node)
    }
}
