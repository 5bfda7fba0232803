internal import Kernel

/// Reads the raw headers of a tar beside libarchive, which hides what an exact unpacker must see: unknown
/// entry types, data behind a lone zero block, bodies on links, the sign of early times, the mode beside an
/// ACL.
///
/// It sees each block before libarchive does, and libarchive's entries are held against its headers one by
/// one, so the two can never read different archives (pax(1), "ustar Interchange Format"; GNU tar manual,
/// "Basic Tar Format").
struct HeaderWalk {
    struct Header {
        /// Of the entry's own header block.
        let offset: Int64
        /// Of the first of its headers, extended ones included: where libarchive says that the entry begins.
        let start: Int64
        let type: UInt8
        /// Bytes stored in the archive.
        let size: Int64
        /// Permission bits with setuid, setgid and sticky.
        let mode: UInt32
        let extended: ExtendedHeader
    }

    private enum State {
        case header
        /// The body of an extended header: `x` is kept, the others are passed over.
        case extended(type: UInt8, bytes: [UInt8], remaining: Int64, padding: Int64)
        case skip(Int64)
        /// Further sparse maps of an old GNU sparse entry, before its body.
        case sparseMap(body: Int64)
        /// One zero block seen.
        case loneZero
        case ended
    }

    /// What libarchive takes at most for one PAX or GNU long record.
    private static let largestExtendedHeader: Int64 = 1 << 20
    private static let blockSize = 512

    private var state = State.header
    private var block = [UInt8]()
    private var offset: Int64 = 0
    private var extended = ExtendedHeader()
    /// Where the headers of the entry that is being read begin.
    private var groupStart: Int64?
    private var found = [Result<Header, ArchiveFailure>]()
    private var taken = 0

    /// Takes the next bytes of the tar.
    mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes[...]
        while !rest.isEmpty {
            switch state {
            case .ended: return
            case .skip(let count):
                let step = min(count, Int64(rest.count))
                advance(&rest, Int(step))
                state = count == step ? .header : .skip(count - step)
            case .extended(let type, var collected, let remaining, let padding):
                // Taken out of `state` while it grows, so that it is not copied.
                state = .header
                let step = Int(min(remaining, Int64(rest.count)))
                if type == UInt8(ascii: "x") { collected.append(contentsOf: rest.prefix(step)) }
                advance(&rest, step)
                if remaining > Int64(step) {
                    state = .extended(
                        type: type, bytes: collected, remaining: remaining - Int64(step), padding: padding)
                } else {
                    state = padding > 0 ? .skip(padding) : .header
                    if type == UInt8(ascii: "x") { parseExtended(collected) }
                }
            case .header, .sparseMap, .loneZero:
                let step = min(Self.blockSize - block.count, rest.count)
                block.append(contentsOf: rest.prefix(step))
                advance(&rest, step)
                if block.count == Self.blockSize {
                    take()
                    block.removeAll(keepingCapacity: true)
                }
            }
        }
    }

    /// The header of libarchive's next entry; nil if the walk has seen none.
    mutating func next() throws(ArchiveFailure) -> Header? {
        guard taken < found.count else { return nil }
        defer {
            taken += 1
            if taken == found.count {
                found.removeAll(keepingCapacity: true)
                taken = 0
            }
        }
        return try found[taken].get()
    }

    /// Call at the end of the stream.
    ///
    /// - Throws: `.truncated` if it ended inside an entry.
    func finish() throws(ArchiveFailure) {
        switch state {
        case .header where block.isEmpty && extended.isEmpty: return
        case .ended, .loneZero: return
        default: throw .truncated(offset: offset)
        }
    }

    private mutating func advance(_ rest: inout Slice<UnsafeRawBufferPointer>, _ count: Int) {
        rest = rest.dropFirst(count)
        offset += Int64(count)
    }

    private mutating func refuse(_ failure: ArchiveFailure) {
        found.append(.failure(failure))
        state = .ended
    }

    private mutating func take() {
        let isZero = block.allSatisfy { $0 == 0 }
        switch state {
        case .sparseMap(let body):
            // GNU's extension block: 21 pairs, then the flag for one more.
            state =
                block[504] != 0
                ? .sparseMap(body: body) : Self.padded(body) > 0 ? .skip(Self.padded(body)) : .header
        case .loneZero where isZero: state = .ended
        case .loneZero:
            refuse(
                .malformed(reason: "data behind a lone zero block", offset: offset - Int64(Self.blockSize)))
        case _ where isZero: state = .loneZero
        default: takeHeader()
        }
    }

    private mutating func takeHeader() {
        let start = offset - Int64(Self.blockSize)
        guard checksumIsRight() else {
            return refuse(.malformed(reason: "wrong header checksum", offset: start))
        }
        guard let ownSize = number(124..<136), let mode = number(100..<108), ownSize >= 0 else {
            return refuse(.malformed(reason: "unreadable number in the header", offset: start))
        }
        let type = block[156]
        let groupStart = self.groupStart ?? start
        self.groupStart = groupStart
        // libarchive reads a sparse map wherever GNU's magic stands, and none without it.
        let isGNU = block[257..<265].elementsEqual(Array("ustar  ".utf8) + [0])
        let isSparse = type == UInt8(ascii: "S")
        if isSparse != (isGNU && block[386] != 0) {
            return refuse(
                .malformed(reason: "a sparse map where none can be, or none where one must be", offset: start)
            )
        }
        switch type {
        case UInt8(ascii: "x"), UInt8(ascii: "g"), UInt8(ascii: "L"), UInt8(ascii: "K"):
            guard ownSize <= Self.largestExtendedHeader else {
                return refuse(.malformed(reason: "an extended header of \(ownSize) bytes", offset: start))
            }
            state =
                ownSize == 0
                ? .header
                : .extended(
                    type: type, bytes: [], remaining: ownSize, padding: Self.padded(ownSize) - ownSize)
        case 0, UInt8(ascii: "0")...UInt8(ascii: "7"), UInt8(ascii: "S"):
            let isFile = [0, UInt8(ascii: "0"), UInt8(ascii: "7"), UInt8(ascii: "S")].contains(type)
            let size = extended.size ?? ownSize
            guard isFile || size == 0 else {
                return refuse(
                    .malformed(reason: "an entry that has no content comes with \(size) bytes", offset: start)
                )
            }
            // The padded size must not overflow; no file is this large.
            guard size <= Int64.max - Int64(Self.blockSize) else {
                return refuse(.malformed(reason: "a size of \(size) bytes", offset: start))
            }
            found.append(
                .success(
                    Header(
                        offset: start, start: groupStart, type: type, size: size,
                        mode: UInt32(truncatingIfNeeded: mode) & 0o7777,
                        extended: extended)))
            extended = ExtendedHeader()
            self.groupStart = nil
            if isSparse, block[482] != 0 {
                state = .sparseMap(body: size)
            } else {
                state = size > 0 ? .skip(Self.padded(size)) : .header
            }
        default: refuse(.unknownType(flag: type, offset: start))
        }
    }

    private mutating func parseExtended(_ bytes: [UInt8]) {
        do {
            try extended.parse(bytes)
        } catch {
            refuse(.malformed(reason: error.reason, offset: offset))
        }
    }

    private static func padded(_ size: Int64) -> Int64 { (size + 511) & ~511 }

    /// The sum of all bytes with the field itself as spaces; some old tars added signed bytes.
    private func checksumIsRight() -> Bool {
        guard let expected = number(148..<156) else { return false }
        var unsigned: Int64 = 0
        var signed: Int64 = 0
        for (index, byte) in block.enumerated() {
            let byte = (148..<156).contains(index) ? UInt8(ascii: " ") : byte
            unsigned += Int64(byte)
            signed += Int64(Int8(bitPattern: byte))
        }
        return expected == unsigned || expected == signed
    }

    /// Octal digits among spaces and NULs, or GNU's base-256 with the top bit set. Nil for anything else.
    private func number(_ field: Range<Int>) -> Int64? {
        let bytes = block[field]
        guard let first = bytes.first else { return nil }
        if first & 0x80 != 0 {
            var value: Int64 = first & 0x40 != 0 ? -1 : 0
            value = value << 7 | Int64(first & 0x7F)
            for byte in bytes.dropFirst() {
                let (shifted, overflow) = value.multipliedReportingOverflow(by: 256)
                if overflow { return nil }
                value = shifted | Int64(byte)
            }
            return value
        }
        var value: Int64 = 0
        let digits = bytes.drop { $0 == UInt8(ascii: " ") }.prefix { $0 != 0 && $0 != UInt8(ascii: " ") }
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(digit) else { return nil }
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 8)
            if overflow { return nil }
            value = shifted + Int64(digit - UInt8(ascii: "0"))
        }
        return value
    }
}
