internal import Kernel

/// Parses the headers of a tar in parallel with libarchive, which hides what an exact unpacker must see: unknown
/// entry types, data after a single zero block, bodies of links, and records that it merges, changes or drops.
///
/// The walk sees each block before libarchive and decides: libarchive receives nothing that the walk rejects, its
/// entries must start where the walk's do, and entries are built from the walk's headers only. libarchive provides
/// the data (pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
struct HeaderWalk {
    typealias Reason = ArchiveFailure.Reason

    struct Header {
        let entry: Entry
        /// Offset of the first of the entry's headers, where libarchive reports the start of the entry.
        let start: Int64
        /// Size of the content in the archive, in bytes, without holes and without a sparse map.
        let data: Int64
        /// Whether the content is stored without a sparse map, directly after the header.
        let isPlain: Bool
        /// Offset of the first byte after the headers, where a plain content begins.
        fileprivate(set) var end: Int64 = 0
    }

    private enum State {
        case header
        case extended(type: UInt8, remaining: Int64, padding: Int64)
        /// Bytes to skip; the last `padding` of them only fill a block.
        case skip(Int64, padding: Int64)
        /// More blocks of an old GNU sparse map, before the entry's body.
        case sparseBlocks(Header, SparseMap, size: Int64)
        /// A sparse map at the start of the body (GNU format 1.0).
        case sparseText(Entry, SparseText, stored: Int64, size: Int64)
        /// After one zero block.
        case loneZero
        case ended
    }

    /// Maximum size of a PAX or GNU extended header in libarchive, in bytes.
    private static let largestExtendedHeader: Int64 = 1 << 20
    private static let blockSize = RawHeader.blockSize
    /// 1 EiB.
    private static let largestBody: Int64 = 1 << 60

    private var state = State.header
    private var block = [UInt8]()
    /// Body of an extended header.
    private var body = [UInt8]()
    private var group = HeaderGroup()
    /// Number of bytes fed or skipped.
    private(set) var offset: Int64 = 0
    /// Offset of the last header.
    private var headerOffset: Int64 = 0
    /// Name of the current entry.
    private var name: [UInt8]?
    private var start: Int64 = 0
    private var found = [Header]()
    private var taken = 0
    /// Whether libarchive considers the tar a PAX archive: then it reads a body after a hard link.
    private var isPAX = false
    /// Header blocks that replace the original ones for libarchive, with their offsets.
    private var rewrittenHeaders = [(offset: Int64, block: [UInt8])]()
    /// The error that ended the walk; nothing after it is read.
    private(set) var refusal: ArchiveFailure?

    /// Parses the next bytes of the tar.
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

    /// Skips the content that comes next, which need not be fed.
    mutating func skip() {
        guard case .skip(let count, let padding) = state, count > padding else { return }
        offset += count - padding
        state = padding > 0 ? .skip(padding, padding: padding) : .header
    }

    /// Number of bytes at the end of the input that begin an incomplete header.
    var undecided: Int { block.count }

    /// Number of padding bytes that are missing if the tar ends here; 0 if other bytes are missing too.
    var missingPadding: Int {
        if case .skip(let count, let padding) = state, count <= padding { return Int(count) }
        return 0
    }

    /// Returns the replaced headers since the last call.
    mutating func takeRewrittenHeaders() -> [(offset: Int64, block: [UInt8])] {
        defer { rewrittenHeaders = [] }
        return rewrittenHeaders
    }

    /// Whether the end of the archive has been seen.
    var hasEnded: Bool { if case .ended = state { true } else { false } }

    /// Returns the header for libarchive's next entry; nil if the walk has found none.
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

    /// The error if the stream ends here: it may end between two entries, and in the padding of the last one.
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
            body.append(contentsOf: UnsafeRawBufferPointer(rebasing: rest.prefix(step)))
            advance(step)
            state = .extended(type: type, remaining: remaining - Int64(step), padding: padding)
            if remaining == Int64(step) {
                state = padding > 0 ? .skip(padding, padding: padding) : .header
                try group.take(type, body)
                body.removeAll(keepingCapacity: true)
            }
        case .sparseText(let entry, var text, let stored, let size):
            // Parsed byte by byte: the map is short, and the file's data may follow directly.
            try text.take(rest[rest.startIndex])
            advance(1)
            state = .sparseText(entry, text, stored: stored, size: size)
            if text.isComplete { try finishText(entry, text, stored: stored, size: size) }
        case .header, .sparseBlocks, .loneZero:
            let step = min(Self.blockSize - block.count, rest.count)
            block.append(contentsOf: UnsafeRawBufferPointer(rebasing: rest.prefix(step)))
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
            // A block has 21 pieces and a flag for another block.
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
            throw .malformed("data after a single zero block")
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
            throw .malformed("a header that is ustar to some readers and not to others")
        }
        switch header.type {
        case UInt8(ascii: "x"), UInt8(ascii: "g"), UInt8(ascii: "L"), UInt8(ascii: "K"):
            guard size <= Self.largestExtendedHeader else {
                throw .malformed(
                    "an extended header of \(size) bytes, and at most \(Self.largestExtendedHeader) are read")
            }
            try group.countHeader()
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
        if let block = header.rewritten(hasBody: stored > 0) {
            rewrittenHeaders.append((headerOffset, block))
        }
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
            throw .malformed("an unexpected sparse map, or a missing one")
        }
        if form != nil, header.type != UInt8(ascii: "0") {
            throw .malformed("an unexpected sparse map")
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

    /// Size of the entry's body in bytes. Entries other than files have none, whatever size the header declares: GNU
    /// tar, libarchive and Go extract the same tree (GNU tar lists a different one).
    private mutating func stored(_ header: RawHeader, _ path: EntryPath) throws(Reason) -> Int64 {
        guard let own = header.size else { throw .malformed("an unreadable size") }
        let size = group.records?.size ?? own
        // libarchive reads an empty record as size 0.
        if let records = group.records, records.hasEmptySize, size != 0 {
            throw .malformed("an empty PAX size for an entry of \(size) bytes")
        }
        // Prevents overflow of offsets; no file is this large.
        guard size <= Self.largestBody else { throw .malformed("a size of \(size) bytes") }
        if !header.isUstarToLibarchive { isPAX = false }
        if header.isHeaderOnly {
            // libarchive reads a body if a PAX record declares its size, and after hard links in PAX archives.
            let isAlike = group.records?.size == nil && !(isPAX && header.type == UInt8(ascii: "1"))
            guard isAlike || size == 0 else {
                throw .malformed("an entry without content has a body of \(size) bytes")
            }
            return 0
        }
        // A directory of the format before POSIX.
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
            after: text.byteCount)
    }

    private mutating func add(_ header: Header, skipping body: Int64, after taken: Int64 = 0) {
        var header = header
        header.end = offset
        found.append(header)
        let rest = Self.padded(body) - taken
        state = rest > 0 ? .skip(rest, padding: Self.padded(body) - body) : .header
    }

    private static func padded(_ size: Int64) -> Int64 { (size + 511) & ~511 }
}
