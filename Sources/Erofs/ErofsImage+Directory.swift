extension ErofsImage {
    /// An entry of a directory, neither `.` nor `..`.
    package struct Entry: Equatable, Sendable {
        /// A valid name: 1 to 255 bytes without a slash and NUL.
        package let name: [UInt8]
        /// Number of the node.
        package let node: UInt64
        package let kind: FileKind
    }

    /// Looks up a name by binary search.
    ///
    /// - Returns: nil if the directory does not have the name.
    package func lookUp(_ name: ArraySlice<UInt8>, in directory: Node) throws -> Entry? {
        guard !isDots(name), let found = try find(name, in: directory) else { return nil }
        return found
    }

    /// Reads the number of the parent directory, which a directory lists as `..`.
    package func parent(of directory: Node) throws -> UInt64 {
        let dots = [UInt8](repeating: UInt8(ascii: "."), count: 2)
        guard let found = try find(dots[...], in: directory), found.kind == .directory else {
            throw ErofsError.corrupt(.directory, node: directory.id)
        }
        return found.node
    }

    /// Reads one block of a directory.
    ///
    /// - Parameters:
    ///   - index: of the block, less than `blockCount(of:)`.
    ///   - previous: the last name of the block before, `.` and `..` included; replaced with that of this one.
    /// - Throws: `ErofsError.corrupt` if a name is invalid or not greater than the one before it.
    package func entries(
        in directory: Node, block index: UInt64, after previous: inout [UInt8]
    ) throws -> [Entry] {
        let block = try block(index, of: directory)
        var entries = [Entry]()
        entries.reserveCapacity(block.count)
        for index in 0..<block.count {
            let name = try block.name(index)
            guard previous[...].lexicographicallyPrecedes(name) else {
                throw ErofsError.corrupt(.names, node: directory.id)
            }
            previous = Array(name)
            if !isDots(name) { entries.append(try block.entry(index)) }
        }
        return entries
    }

    /// Reads all entries of a directory, in the order of their names.
    package func entries(of directory: Node) throws -> [Entry] {
        var entries = [Entry]()
        var previous = [UInt8]()
        for index in 0..<(try blockCount(of: directory)) {
            entries += try self.entries(in: directory, block: index, after: &previous)
        }
        return entries
    }

    package func blockCount(of directory: Node) throws -> UInt64 {
        guard directory.kind == .directory else { throw ErofsError.corrupt(.wrongKind, node: directory.id) }
        // Blocks of a directory do not overlap, so that it is not larger than the image.
        guard directory.size > 0, directory.size <= length else {
            throw ErofsError.corrupt(.size, node: directory.id)
        }
        return (directory.size - 1) / superblock.blockSize + 1
    }

    private func find(_ name: ArraySlice<UInt8>, in directory: Node) throws -> Entry? {
        var blocks = 0..<(try blockCount(of: directory))
        while !blocks.isEmpty {
            let middle = blocks.lowerBound + UInt64(blocks.count) / 2
            let block = try block(middle, of: directory)
            if name.lexicographicallyPrecedes(try block.name(0)) {
                blocks = blocks.lowerBound..<middle
                continue
            }
            var range = 0..<block.count
            while !range.isEmpty {
                let middle = range.lowerBound + range.count / 2
                let other = try block.name(middle)
                if other == name { return try block.entry(middle) }
                range =
                    other.lexicographicallyPrecedes(name)
                    ? middle + 1..<range.upperBound : range.lowerBound..<middle
            }
            // A name after the last of this block can only be in a later block.
            guard try block.name(block.count - 1).lexicographicallyPrecedes(name) else { return nil }
            blocks = middle + 1..<blocks.upperBound
        }
        return nil
    }

    // MARK: Blocks

    private func block(_ index: UInt64, of directory: Node) throws -> ParsedBlock {
        let start = index * superblock.blockSize
        let end = min(start + superblock.blockSize, directory.size)
        var bytes = [UInt8]()
        try read(directory, at: start, limit: Int(end - start), into: &bytes)
        guard bytes.count == Int(end - start) else {
            throw ErofsError.corrupt(.directory, node: directory.id)
        }
        return try ParsedBlock(bytes, node: directory.id)
    }

    /// A block of a directory, of which each access is checked.
    private struct ParsedBlock {
        let bytes: [UInt8]
        /// Number of entries, at least 1.
        let count: Int
        let node: UInt64

        init(_ bytes: [UInt8], node: UInt64) throws(ErofsError) {
            guard bytes.count >= Format.direntSize else { throw .corrupt(.directory, node: node) }
            let firstName = Int(bytes.little(at: 8, as: UInt16.self))
            guard firstName >= Format.direntSize, firstName % Format.direntSize == 0, firstName < bytes.count
            else {
                throw .corrupt(.directory, node: node)
            }
            self.bytes = bytes
            self.node = node
            count = firstName / Format.direntSize
        }

        private func nameOffset(_ index: Int) -> Int {
            Int(bytes.little(at: Format.direntSize * index + 8, as: UInt16.self))
        }

        func name(_ index: Int) throws(ErofsError) -> ArraySlice<UInt8> {
            let start = nameOffset(index)
            let end = index + 1 < count ? nameOffset(index + 1) : bytes.count
            guard start >= Format.direntSize * count, start < end, end <= bytes.count else {
                throw .corrupt(.directory, node: node)
            }
            var name = bytes[start..<end]
            // The last name ends at the end of the block, or before the zeros that fill it.
            if index + 1 == count { name = name.prefix { $0 != 0 } }
            guard (1...Format.maximumNameLength).contains(name.count),
                !name.contains(where: { $0 == 0 || $0 == UInt8(ascii: "/") })
            else { throw .corrupt(.names, node: node) }
            return name
        }

        func entry(_ index: Int) throws(ErofsError) -> Entry {
            let offset = Format.direntSize * index
            guard let kind = FileKind(rawValue: bytes[offset + 10]) else {
                throw .corrupt(.directory, node: node)
            }
            return Entry(name: Array(try name(index)), node: bytes.little(at: offset), kind: kind)
        }
    }
}
