/// An array in pages, so that growing it neither copies nor doubles its memory.
struct PagedArray<Element: BitwiseCopyable> {
    private var pages = [[Element]]()
    private static var pageBits: Int { 16 }
    private static var pageSize: Int { 1 << pageBits }

    private(set) var count = 0

    subscript(index: Int) -> Element {
        get { pages[index >> Self.pageBits][index & (Self.pageSize - 1)] }
        set { pages[index >> Self.pageBits][index & (Self.pageSize - 1)] = newValue }
    }

    mutating func append(_ element: Element) {
        if count & (Self.pageSize - 1) == 0 {
            pages.append([])
            // The first page grows as any array does: most trees are small.
            if count > 0 { pages[pages.count - 1].reserveCapacity(Self.pageSize) }
        }
        pages[pages.count - 1].append(element)
        count += 1
    }

    /// Bytes that the elements take.
    var memory: Int { pages.reduce(0) { $0 + $1.capacity } * MemoryLayout<Element>.stride }
}

/// The names of all directories: (directory, name) → (file or directory, type).
///
/// A name takes 16 bytes, its own bytes, and 11 to 21 bytes in the index: a million names of 20 bytes take 53 MB. While
/// directories are sorted, the index is released, and a million names need 4 MB, and the largest directory 16 bytes for
/// each of its names.
struct NameTable {
    /// What a name belongs to.
    struct Target: Equatable {
        /// Slot of an inode, or index of a directory.
        var value: UInt64
        /// Nil for a name that was removed.
        var kind: FileKind?
    }

    private struct Record: BitwiseCopyable {
        /// The directory, and the offset of the name in `bytes`.
        var place: UInt64
        /// Value (40 bits), type (8 bits; 0 if the name was removed), length of the name (8 bits), from high to low.
        var target: UInt64
    }

    static let maximumValue: UInt64 = (1 << 40) - 1

    private var records = PagedArray<Record>()
    /// The bytes of the names, in pages that no name crosses.
    private var bytes = [[UInt8]]()
    /// Open addressing by a hash of directory and name: the hash, and the number of the record plus 1; 0 is free. The size
    /// is a power of two.
    private var index = [UInt64](repeating: 0, count: 64)

    private static let pageBits: UInt64 = 20

    /// Number of names, including removed ones.
    var count: Int { records.count }

    /// Bytes that the names take.
    var memory: Int { records.memory + bytes.reduce(0) { $0 + $1.capacity } + 8 * index.count }

    func directory(of record: Int) -> UInt32 { UInt32(truncatingIfNeeded: records[record].place >> 32) }

    func name(of record: Int) -> ArraySlice<UInt8> {
        let record = records[record]
        let offset = Int(record.place & (1 << Self.pageBits - 1))
        let page = Int(record.place & 0xFFFF_FFFF) >> Int(Self.pageBits)
        return bytes[page][offset..<offset + Int(record.target & 0xFF)]
    }

    func nameLength(of record: Int) -> Int { Int(records[record].target & 0xFF) }

    subscript(record: Int) -> Target {
        get {
            let target = records[record].target
            return Target(
                value: target >> 16, kind: FileKind(rawValue: UInt8(truncatingIfNeeded: target >> 8)))
        }
        set {
            records[record].target =
                newValue.value << 16 | UInt64(newValue.kind?.rawValue ?? 0) << 8
                | records[record].target & 0xFF
        }
    }

    /// Where a name is in the index, or would be.
    struct Position {
        fileprivate let slot: Int
        fileprivate let hash: UInt32
        /// Number of the record, which may be of a name that was removed; nil if there is none.
        let record: Int?
    }

    func find(_ name: ArraySlice<UInt8>, in directory: UInt32) -> Position {
        let hash = Self.hash(name, directory)
        let mask = index.count - 1
        var slot = Int(hash) & mask
        while index[slot] != 0 {
            let entry = index[slot]
            if UInt32(truncatingIfNeeded: entry >> 32) == hash {
                let record = Int(UInt32(truncatingIfNeeded: entry)) - 1
                if self.directory(of: record) == directory, nameLength(of: record) == name.count,
                    self.name(of: record) == name
                {
                    return Position(slot: slot, hash: hash, record: record)
                }
            }
            slot = (slot + 1) & mask
        }
        return Position(slot: slot, hash: hash, record: nil)
    }

    /// Adds a name that the table does not have.
    ///
    /// - Parameter position: the result of `find`, after which nothing was added.
    mutating func add(
        _ name: ArraySlice<UInt8>, in directory: UInt32, _ target: Target, at position: Position
    ) throws(ErofsError) {
        let pageSize = 1 << Int(Self.pageBits)
        if bytes.isEmpty || bytes[bytes.count - 1].count + name.count > pageSize {
            guard bytes.count < 1 << (32 - Int(Self.pageBits)) else { throw .imageTooLarge }
            bytes.append([])
            if bytes.count > 1 { bytes[bytes.count - 1].reserveCapacity(pageSize) }
        }
        let page = bytes.count - 1
        let offset = UInt64(page) << Self.pageBits | UInt64(bytes[page].count)
        bytes[page] += name
        records.append(Record(place: UInt64(directory) << 32 | offset, target: UInt64(name.count)))
        self[records.count - 1] = target
        guard records.count < UInt32.max else { throw .imageTooLarge }
        index[position.slot] = UInt64(position.hash) << 32 | UInt64(records.count)
        if records.count * 4 > index.count * 3 { growIndex() }
    }

    private mutating func growIndex() {
        let old = index
        let mask = 2 * old.count - 1
        index = [UInt64](repeating: 0, count: mask + 1)
        for entry in old where entry != 0 {
            var slot = Int(entry >> 32) & mask
            while index[slot] != 0 { slot = (slot + 1) & mask }
            index[slot] = entry
        }
    }

    /// Frees the memory of the index. Nothing can be found or added afterwards.
    mutating func releaseIndex() { index = [] }

    /// Keyed by the process (SipHash), so that an image cannot contain names that collide.
    private static func hash(_ name: ArraySlice<UInt8>, _ directory: UInt32) -> UInt32 {
        var hasher = Hasher()
        var word = UInt64(directory)
        var filled = 4
        for byte in name {
            word = word << 8 | UInt64(byte)
            filled += 1
            if filled == 8 {
                hasher.combine(word)
                word = 0
                filled = 0
            }
        }
        hasher.combine(word << 8 | UInt64(filled))
        return UInt32(truncatingIfNeeded: hasher.finalize())
    }

    // MARK: Order

    /// Sorts records of one directory by the bytes of their names.
    func sort(_ order: inout [UInt32], in range: Range<Int>) {
        guard range.count > 1 else { return }
        let first = name(of: Int(order[range.lowerBound]))
        var common = first.count
        for position in range.dropFirst() where common > 0 {
            let other = name(of: Int(order[position]))
            var length = 0
            while length < common, length < other.count,
                first[first.startIndex + length] == other[other.startIndex + length]
            {
                length += 1
            }
            common = length
        }
        var keys = range.map { position in
            SortKey(name(of: Int(order[position])).dropFirst(common), record: order[position])
        }
        keys.sort { left, right in
            if left.prefix != right.prefix { return left.prefix < right.prefix }
            return name(of: Int(left.record)).lexicographicallyPrecedes(name(of: Int(right.record)))
        }
        for (position, key) in zip(range, keys) { order[position] = key.record }
    }

    /// The first 8 bytes of a name after those that all names have in common, as a number. Names contain no zero, so that
    /// the zeros after a shorter name sort it before a longer one.
    private struct SortKey {
        let prefix: UInt64
        let record: UInt32

        init(_ name: ArraySlice<UInt8>, record: UInt32) {
            var prefix: UInt64 = 0
            var shift: UInt64 = 64
            for byte in name.prefix(8) {
                shift -= 8
                prefix |= UInt64(byte) << shift
            }
            self.prefix = prefix
            self.record = record
        }
    }
}
