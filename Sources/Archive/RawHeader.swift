internal import Kernel

/// One header block of a tar (pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
struct RawHeader {
    enum Dialect { case v7, ustar, gnu }

    static let blockSize = 512

    private let block: [UInt8]
    /// The format, distinguished as in Go and GNU tar: the version after ustar's magic may be anything.
    let dialect: Dialect
    /// Whether libarchive considers the header ustar: it compares only five bytes of the magic.
    let isUstarToLibarchive: Bool

    init(_ block: [UInt8]) {
        self.block = block
        let magic = block[257..<265]
        dialect =
            if magic.elementsEqual(Self.gnuMagic) { .gnu } else if magic.starts(with: Self.ustarMagic) {
                .ustar
            } else { .v7 }
        isUstarToLibarchive = dialect != .gnu && magic.starts(with: Self.ustarMagic.dropLast())
    }

    private static let gnuMagic = Array("ustar  \0".utf8)
    private static let ustarMagic = Array("ustar\0".utf8)

    var type: UInt8 { block[156] }

    /// Whether readers interpret the fields differently: libarchive reads a prefix and device numbers after a magic
    /// that Go and GNU tar do not recognize, and Go reads a shorter prefix in star's headers.
    var isAmbiguous: Bool {
        if isUstarToLibarchive, dialect == .v7 {
            return block[345] != 0 || type == UInt8(ascii: "3") || type == UInt8(ascii: "4")
        }
        let isStar = dialect == .ustar && block[508..<512].elementsEqual(Array("tar\0".utf8))
        return isStar && text(345..<500).count > 131
    }

    // MARK: Texts

    var name: [UInt8] {
        let name = text(0..<100)
        let prefix = prefix
        return prefix.isEmpty ? name : prefix + [UInt8(ascii: "/")] + name
    }

    var linkName: [UInt8] { text(157..<257) }

    private var prefix: [UInt8] {
        switch dialect {
        case .v7: return []
        case .ustar: return text(345..<500)
        case .gnu: return goPrefix
        }
    }

    /// A prefix that Go before 1.8 wrote over the fields that GNU uses for two times, a sparse map and the file size.
    /// Go's reader recognizes it because the times are not numbers (golang.org/issues/12594).
    private var goPrefix: [UInt8] {
        guard block[345] != 0, dialect == .gnu, !isSparse else { return [] }
        let hasTimes = time(345..<357) != nil && (block[357] == 0 || time(357..<369) != nil)
        let prefix = text(345..<500)
        return hasTimes || prefix.contains { $0 >= 0x80 } ? [] : prefix
    }

    /// The field's text up to the first NUL.
    private func text(_ field: Range<Int>) -> [UInt8] { Array(block[field].prefix { $0 != 0 }) }

    // MARK: Numbers

    var mode: Int64? { number(100..<108) }
    var uid: Int64? { number(108..<116) }
    var gid: Int64? { number(116..<124) }
    /// Size of the body in bytes.
    var size: Int64? { number(124..<136) }
    var modificationTime: Int64? { time(136..<148) }
    /// Only in GNU headers; zero means none.
    var accessTime: Int64? {
        dialect == .gnu ? number(345..<357).flatMap { $0 > 0 ? $0 : nil } : nil
    }
    var deviceMajor: Int64? { dialect == .v7 ? 0 : number(329..<337) }
    var deviceMinor: Int64? { dialect == .v7 ? 0 : number(337..<345) }

    /// Whether the checksum matches: the sum of all bytes with the checksum field as spaces. Some old tar programs
    /// added signed bytes.
    var hasRightChecksum: Bool {
        // The bytes after the digits are checked too, because libarchive does not accept others.
        let isDigits = block[148..<156].allSatisfy {
            $0 == 0 || $0 == UInt8(ascii: " ") || (0x30...0x37).contains($0)
        }
        guard isDigits, let expected = number(148..<156) else { return false }
        var sum: UInt32 = 0
        // As signed bytes, those from 0x80 on are less by 256.
        var negatives: UInt32 = 0
        for byte in block {
            sum &+= UInt32(byte)
            negatives &+= UInt32(byte >> 7)
        }
        // The field itself has only ASCII digits, spaces and NULs.
        for byte in block[148..<156] { sum = sum &- UInt32(byte) &+ UInt32(UInt8(ascii: " ")) }
        return expected == Int64(sum) || expected == Int64(sum) - 256 * Int64(negatives)
    }

    private func number(_ field: Range<Int>) -> Int64? { Self.number(block[field]) }

    /// Parses a time as Go does: digits may follow NULs. GNU tar (after two NULs) and libarchive read such a time as
    /// 0. An archive of this kind exists, and nothing else depends on a time.
    private func time(_ field: Range<Int>) -> Int64? {
        let digits = block[field].drop(while: Self.isBlank)
        if digits.startIndex > field.lowerBound, let first = digits.first, first & 0x80 != 0 { return nil }
        return digits.isEmpty ? 0 : Self.number(digits)
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0 || byte == UInt8(ascii: " ") }

    /// Parses a number: octal digits after spaces and before a NUL or spaces, or GNU's base 256; a blank field is 0.
    /// Nil for anything else, such as digits after a NUL, which Go reads as a number and libarchive as 0, and digits
    /// after digits and a space.
    static func number(_ bytes: ArraySlice<UInt8>) -> Int64? {
        guard let first = bytes.first else { return nil }
        if first & 0x80 != 0 {
            // GNU tar and libarchive reject other base-256 numbers.
            guard first == 0x80 || first == 0xFF else { return nil }
            var value: Int64 = first & 0x40 != 0 ? -1 : 0
            value = value << 7 | Int64(first & 0x7F)
            for byte in bytes.dropFirst() {
                let (shifted, overflow) = value.multipliedReportingOverflow(by: 256)
                if overflow { return nil }
                value = shifted | Int64(byte)
            }
            return value
        }
        let text = bytes.drop { $0 == UInt8(ascii: " ") }
        let digits = text.prefix { !isBlank($0) }
        let rest = text.dropFirst(digits.count)
        guard rest.allSatisfy(isBlank) || (!digits.isEmpty && rest.first == 0) else { return nil }
        var value: Int64 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(digit) else { return nil }
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 8)
            if overflow { return nil }
            value = shifted + Int64(digit - UInt8(ascii: "0"))
        }
        return value
    }

    // MARK: GNU's old sparse map

    var isSparse: Bool { type == UInt8(ascii: "S") }

    /// Whether libarchive reads a sparse map here: it does so for any type if the magic is GNU's. A prefix of Go is
    /// removed before libarchive gets the header.
    var hasSparseMap: Bool { dialect == .gnu && block[386] != 0 && goPrefix.isEmpty }
    /// Four pieces; the first empty one ends the map.
    var sparsePieces: ArraySlice<UInt8> { block[386..<482] }
    /// Whether blocks with more pieces follow.
    var isSparseMapContinued: Bool { block[482] != 0 }
    /// Size of the sparse file in bytes, holes included.
    var sparseSize: Int64? { number(483..<495) }

    // MARK: For libarchive

    /// Whether entries of this type never have a body, whatever size the header declares.
    var isHeaderOnly: Bool { (UInt8(ascii: "1")...UInt8(ascii: "6")).contains(type) }

    /// The header without the fields that libarchive would misread: Go's prefix, and the size of an entry without a
    /// body. Nil if there are no such fields.
    ///
    /// - Parameter hasBody: whether the entry has a body of the declared size.
    func rewritten(hasBody: Bool) -> [UInt8]? {
        let hasSize = !hasBody && size != 0
        guard hasSize || !goPrefix.isEmpty else { return nil }
        var copy = block
        func put(_ number: Int, digits: Int, at offset: Int) {
            let text = String(number, radix: 8, minimumDigits: digits)
            copy.replaceSubrange(offset..<offset + digits, with: text.utf8)
            copy[offset + digits] = 0
        }
        if !goPrefix.isEmpty { copy.replaceSubrange(345..<500, with: repeatElement(0, count: 155)) }
        if hasSize { put(0, digits: 11, at: 124) }
        copy.replaceSubrange(148..<156, with: repeatElement(UInt8(ascii: " "), count: 8))
        put(copy.reduce(0) { $0 + Int($1) }, digits: 6, at: 148)
        return copy
    }
}
