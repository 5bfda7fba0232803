/// The entries of one directory in the order of the image: sorted by unsigned bytes, with `.` and `..` among the names.
struct DirectoryEntries {
    enum Entry {
        case itself
        case parent
        /// Number of a record of the name table.
        case name(Int)
    }

    private let order: ArraySlice<UInt32>
    private var position: Int
    private var dots = 0

    init(_ order: ArraySlice<UInt32>) {
        self.order = order
        position = order.startIndex
    }

    private static let dot = UInt8(ascii: ".")

    @inline(__always) mutating func next(_ names: borrowing NameTable) -> Entry? {
        if dots < 2 {
            let dotsFirst =
                position == order.endIndex
                || repeatElement(Self.dot, count: dots + 1).lexicographicallyPrecedes(
                    names.name(of: Int(order[position])))
            if dotsFirst {
                dots += 1
                return dots == 1 ? .itself : .parent
            }
        }
        guard position < order.endIndex else { return nil }
        position += 1
        return .name(Int(order[position - 1]))
    }

    /// Size of the directory, from the beginning of its first block to the end of the last name.
    static func size(_ order: ArraySlice<UInt32>, _ names: borrowing NameTable, blockSize: UInt64) -> UInt64 {
        var entries = DirectoryEntries(order)
        var blocks: UInt64 = 0
        var used: UInt64 = 0
        while let entry = entries.next(names) {
            let size = UInt64(Format.direntSize + length(of: entry, names))
            if used + size > blockSize {
                blocks += 1
                used = 0
            }
            used += size
        }
        return blocks * blockSize + used
    }

    static func length(of entry: Entry, _ names: borrowing NameTable) -> Int {
        switch entry {
        case .itself: 1
        case .parent: 2
        case .name(let record): names.nameLength(of: record)
        }
    }
}

/// One block of a directory: entries of 12 bytes, then their names.
struct DirectoryBlock {
    let blockSize: Int
    private(set) var entries = [DirectoryEntries.Entry]()
    private var used = 0

    init(blockSize: UInt64) { self.blockSize = Int(blockSize) }

    /// Adds an entry if it fits.
    @inline(__always) mutating func add(_ entry: DirectoryEntries.Entry, _ names: borrowing NameTable) -> Bool
    {
        let size = Format.direntSize + DirectoryEntries.length(of: entry, names)
        guard used + size <= blockSize else { return false }
        entries.append(entry)
        used += size
        return true
    }

    mutating func removeAll() {
        entries.removeAll(keepingCapacity: true)
        used = 0
    }

    /// Appends the block, without padding.
    func append(
        to bytes: inout [UInt8], _ names: borrowing NameTable,
        target: (DirectoryEntries.Entry) -> (node: UInt64, kind: FileKind)
    ) {
        var nameOffset = Format.direntSize * entries.count
        for entry in entries {
            let (node, kind) = target(entry)
            bytes.append(addingCapacity: Format.direntSize) { out in
                out.append(little: node)
                out.append(little: UInt16(nameOffset))
                out.append(kind.rawValue)
                out.append(0)
            }
            nameOffset += DirectoryEntries.length(of: entry, names)
        }
        for entry in entries {
            switch entry {
            case .itself: bytes.append(UInt8(ascii: "."))
            case .parent: bytes.append(contentsOf: repeatElement(UInt8(ascii: "."), count: 2))
            case .name(let record): bytes += names.name(of: record)
            }
        }
    }
}
