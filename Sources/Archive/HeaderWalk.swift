internal import Kernel

/// Reads the headers of a tar beside libarchive, which hides what an exact unpacker must see: unknown entry
/// types, data behind a lone zero block, bodies on links, records that it merges, bends or drops.
///
/// It sees each block before libarchive does and is the judge: libarchive gets nothing of what the walk refuses,
/// its entries must stand where the walk's do, and what an entry is comes from here alone. libarchive hands out
/// the data (pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
struct HeaderWalk {
    typealias Reason = ArchiveFailure.Reason

    struct Header {
        let entry: Entry
        /// Where the first of its headers stands: where libarchive says that the entry begins.
        let start: Int64
        /// Bytes of content in the archive: without holes, and without a sparse map.
        let data: Int64
        /// Whether they are the file as it is, right behind the header.
        let isPlain: Bool
    }

    private enum State {
        case header
        case extended(type: UInt8, remaining: Int64, padding: Int64)
        /// Bytes to pass over, the last `padding` of which only fill up a block.
        case skip(Int64, padding: Int64)
        /// Further blocks of an old GNU sparse map, before the entry's body.
        case sparseBlocks(Header, SparseMap, size: Int64)
        /// A sparse map at the start of the body.
        case sparseText(Entry, SparseText, stored: Int64, size: Int64)
        /// One zero block seen.
        case loneZero
        case ended
    }

    /// What libarchive takes at most for one PAX or GNU long record.
    private static let largestExtendedHeader: Int64 = 1 << 20
    private static let blockSize = RawHeader.blockSize
    /// An exbibyte.
    private static let largestBody: Int64 = 1 << 60

    private var state = State.header
    private var block = [UInt8]()
    /// Of an extended header.
    private var body = [UInt8]()
    private var group = HeaderGroup()
    /// Bytes seen.
    private(set) var offset: Int64 = 0
    /// Where the header stands that was read last.
    private var headerOffset: Int64 = 0
    /// The name of the entry that is being read.
    private var name: [UInt8]?
    private var start: Int64 = 0
    private var found = [Header]()
    private var taken = 0
    /// Whether libarchive takes the tar for PAX's: then it reads a body behind a hard link.
    private var isPAX = false
    /// Headers that libarchive is to see otherwise, by their offsets.
    private var plainHeaders = [(offset: Int64, block: [UInt8])]()
    /// What is wrong with the tar; nothing behind it is read.
    private(set) var refusal: ArchiveFailure?

    /// Takes the next bytes of the tar.
    mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes[...]
        while !rest.isEmpty {
            do {
                if case .ended = state { return }
                try take(&rest)
            } catch {
                refusal = ArchiveFailure(reason: error, entry: name.map(shown), offset: headerOffset)
                state = .ended
            }
        }
    }

    /// Passes over content that comes next and that it need not see.
    mutating func skip() {
        guard case .skip(let count, let padding) = state, count > padding else { return }
        offset += count - padding
        state = padding > 0 ? .skip(padding, padding: padding) : .header
    }

    /// Bytes fed last that begin a header whose end has not come.
    var undecided: Int { block.count }

    /// Bytes that the tar lacks if it ends here, all of which only fill up a block.
    var missingPadding: Int {
        if case .skip(let count, let padding) = state, count <= padding { return Int(count) }
        return 0
    }

    /// The headers in the bytes fed so far that libarchive is to see otherwise, each once.
    mutating func takePlainHeaders() -> [(offset: Int64, block: [UInt8])] {
        defer { plainHeaders = [] }
        return plainHeaders
    }

    /// Whether the end of the archive has been seen.
    var hasEnded: Bool { if case .ended = state { true } else { false } }

    /// The header of libarchive's next entry; nil if the walk has seen none.
    mutating func next() -> Header? {
        guard taken < found.count else { return nil }
        defer {
            taken += 1
            if taken == found.count {
                found.removeAll(keepingCapacity: true)
                taken = 0
            }
        }
        return found[taken]
    }

    /// What is wrong with a stream that ends here: it may do so between two entries, and in what fills up the last one's
    /// block.
    var truncation: ArchiveFailure? {
        switch state {
        case .header where block.isEmpty && !group.needsEntry: return nil
        case .skip(let count, let padding) where count <= padding && !group.needsEntry: return nil
        case .header: return ArchiveFailure(reason: .truncated, entry: nil, offset: offset)
        case .ended, .loneZero: return nil
        default: return ArchiveFailure(reason: .truncated, entry: name.map(shown), offset: offset)
        }
    }

    private mutating func take(_ rest: inout Slice<UnsafeRawBufferPointer>) throws(Reason) {
        func advance(_ count: Int) {
            rest = rest.dropFirst(count)
            offset += Int64(count)
        }
        switch state {
        case .ended: return
        case .skip(let count, let padding):
            let step = min(count, Int64(rest.count))
            advance(Int(step))
            state = count == step ? .header : .skip(count - step, padding: padding)
        case .extended(let type, let remaining, let padding):
            let step = Int(min(remaining, Int64(rest.count)))
            body.append(contentsOf: rest.prefix(step))
            advance(step)
            state = .extended(type: type, remaining: remaining - Int64(step), padding: padding)
            if remaining == Int64(step) {
                state = padding > 0 ? .skip(padding, padding: padding) : .header
                try group.take(type, body)
                body.removeAll()
            }
        case .sparseText(let entry, var text, let stored, let size):
            // Byte by byte: it is short, and a file's data may follow at once.
            try text.take(rest[rest.startIndex])
            advance(1)
            state = .sparseText(entry, text, stored: stored, size: size)
            if text.isComplete { try finishText(entry, text, stored: stored, size: size) }
        case .header, .sparseBlocks, .loneZero:
            let step = min(Self.blockSize - block.count, rest.count)
            block.append(contentsOf: rest.prefix(step))
            advance(step)
            if block.count == Self.blockSize {
                defer { block.removeAll(keepingCapacity: true) }
                try takeBlock()
            }
        }
    }

    // MARK: Headers

    private mutating func takeBlock() throws(Reason) {
        let isZero = block[0] == 0 && block.allSatisfy { $0 == 0 }
        switch state {
        case .sparseBlocks(let header, var map, let size):
            // 21 pieces, then whether there is one more block.
            try map.add(pieces: block[..<504])
            if block[504] != 0 {
                state = .sparseBlocks(header, map, size: size)
            } else {
                try map.check(size: size, stored: header.data)
                add(header, skipping: header.data)
            }
        case .loneZero where isZero: state = .ended
        case .loneZero:
            headerOffset = offset - Int64(Self.blockSize)
            name = nil
            throw .malformed("data behind a lone zero block")
        case _ where isZero && group.needsEntry: throw .malformed("an extended header without an entry")
        case _ where isZero: state = .loneZero
        default: try takeHeader(RawHeader(block))
        }
    }

    private mutating func takeHeader(_ header: RawHeader) throws(Reason) {
        headerOffset = offset - Int64(Self.blockSize)
        name = nil
        guard header.hasRightChecksum else { throw .malformed("a wrong header checksum") }
        group.begin(at: headerOffset)
        guard let size = header.size, size >= 0 else { throw .malformed("an unreadable size") }
        if header.isAmbiguous {
            name = group.name(of: header)
            throw .malformed("a header that is ustar's to some readers and not to others")
        }
        switch header.type {
        case UInt8(ascii: "x"), UInt8(ascii: "g"), UInt8(ascii: "L"), UInt8(ascii: "K"):
            guard size <= Self.largestExtendedHeader else {
                throw .malformed(
                    "an extended header of \(size) bytes, and at most \(Self.largestExtendedHeader) are read")
            }
            try group.announce()
            if header.type == UInt8(ascii: "x") || header.type == UInt8(ascii: "g") { isPAX = true }
            if size == 0 {
                state = .header
                try group.take(header.type, [])
            } else {
                state = .extended(type: header.type, remaining: size, padding: Self.padded(size) - size)
            }
        case 0, UInt8(ascii: "0")...UInt8(ascii: "7"), UInt8(ascii: "S"):
            name = group.name(of: header)
            try takeEntry(header, group.records)
        default:
            name = group.name(of: header)
            throw .unknownType(header.type)
        }
    }

    private mutating func takeEntry(_ header: RawHeader, _ records: ExtendedHeader?) throws(Reason) {
        try group.checkNames()
        let path = try EntryPath(group.name(of: header))
        let stored = try stored(header, path)
        start = group.start ?? headerOffset
        if let block = header.plain(hasBody: stored > 0) { plainHeaders.append((headerOffset, block)) }
        let form = try records?.sparse.form()
        func entry(size: Int64) throws(Reason) -> Entry {
            try Entry(header, group, path: path, offset: headerOffset, stored: stored, size: size)
        }
        func plain(size: Int64) throws(Reason) -> Header {
            Header(
                entry: try entry(size: size), start: start, data: stored,
                isPlain: form == nil && !header.isSparse)
        }
        guard header.isSparse == header.hasSparseMap else {
            throw .malformed("a sparse map where none can be, or none where one must be")
        }
        if form != nil, header.type != UInt8(ascii: "0") {
            throw .malformed("a sparse map where none can be")
        }
        defer { group = HeaderGroup() }
        switch form {
        case nil where header.isSparse:
            guard let size = header.sparseSize, size >= 0 else { throw .malformed("an unreadable size") }
            var map = SparseMap()
            try map.add(pieces: header.sparsePieces)
            if header.isSparseMapContinued {
                state = .sparseBlocks(try plain(size: size), map, size: size)
            } else {
                try map.check(size: size, stored: stored)
                add(try plain(size: size), skipping: stored)
            }
        case nil: add(try plain(size: stored), skipping: stored)
        case .mapped(let map, let size):
            try map.check(size: size, stored: stored)
            add(try plain(size: size), skipping: stored)
        case .mapInBody(let size):
            state = .sparseText(try entry(size: size), SparseText(), stored: stored, size: size)
        }
    }

    /// Bytes of the entry's body. What is no file has none, whatever size its header states: GNU tar, libarchive and Go make the
    /// same tree of it (GNU tar lists another one).
    private mutating func stored(_ header: RawHeader, _ path: EntryPath) throws(Reason) -> Int64 {
        guard let own = header.size else { throw .malformed("an unreadable size") }
        let size = group.records?.size ?? own
        // libarchive takes an empty record for a size of 0.
        if let records = group.records, records.hasEmptySize, size != 0 {
            throw .malformed("a PAX size taken back, for \(size) bytes")
        }
        // Offsets must not overflow; no file is this large.
        guard size <= Self.largestBody else { throw .malformed("a size of \(size) bytes") }
        if !header.isUstarToLibarchive { isPAX = false }
        if header.isHeaderOnly {
            // libarchive reads a body where a record states it, and behind hard links of PAX's.
            let isAlike = group.records?.size == nil && !(isPAX && header.type == UInt8(ascii: "1"))
            guard isAlike || size == 0 else {
                throw .malformed("an entry that has no content comes with \(size) bytes")
            }
            return 0
        }
        // A directory of before POSIX.
        if header.type == 0, path.hadTrailingSlash, group.isEmpty { return 0 }
        return size
    }

    private mutating func finishText(
        _ entry: Entry, _ text: SparseText, stored: Int64, size: Int64
    ) throws(Reason) {
        let data = stored - Self.padded(text.byteCount)
        guard data >= 0 else { throw .malformed("a sparse map that is longer than its entry") }
        try text.map.check(size: size, stored: data)
        add(
            Header(entry: entry, start: start, data: data, isPlain: false), skipping: stored,
            behind: text.byteCount)
    }

    private mutating func add(_ header: Header, skipping body: Int64, behind taken: Int64 = 0) {
        found.append(header)
        let rest = Self.padded(body) - taken
        state = rest > 0 ? .skip(rest, padding: Self.padded(body) - body) : .header
    }

    private static func padded(_ size: Int64) -> Int64 { (size + 511) & ~511 }
}
