/// One header block of a tar (pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
struct RawHeader {
    enum Dialect { case v7, ustar, gnu }

    static let blockSize = 512

    private let block: [UInt8]

    init(_ block: [UInt8]) { self.block = block }

    var type: UInt8 { block[156] }

    /// As Go and GNU tar tell them apart: the version behind ustar's magic may be anything.
    var dialect: Dialect {
        if block[257..<265].elementsEqual(Array("ustar  \0".utf8)) { return .gnu }
        return block[257..<263].elementsEqual(Array("ustar\0".utf8)) ? .ustar : .v7
    }

    /// Whether libarchive takes it for ustar's: it compares five bytes of the magic.
    var isUstarToLibarchive: Bool {
        dialect == .ustar || dialect == .v7 && block[257..<262].elementsEqual(Array("ustar".utf8))
    }

    /// Whether readers take different fields out of it: libarchive reads a prefix and device numbers behind a magic that is
    /// none to Go and GNU tar, and Go reads a shorter prefix in star's headers.
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

    /// What Go before 1.8 wrote where GNU has two times, a sparse map and the file's size. Go's reader recognises it by that the
    /// times are no numbers (golang.org/issues/12594).
    private var goPrefix: [UInt8] {
        guard block[345] != 0, dialect == .gnu, !isSparse else { return [] }
        let hasTimes = time(345..<357) != nil && (block[357] == 0 || time(357..<369) != nil)
        let prefix = text(345..<500)
        return hasTimes || prefix.contains { $0 >= 0x80 } ? [] : prefix
    }

    /// Up to the first NUL.
    private func text(_ field: Range<Int>) -> [UInt8] { Array(block[field].prefix { $0 != 0 }) }

    // MARK: Numbers

    var mode: Int64? { number(100..<108) }
    var uid: Int64? { number(108..<116) }
    var gid: Int64? { number(116..<124) }
    /// Bytes of the body.
    var size: Int64? { number(124..<136) }
    var modificationTime: Int64? { time(136..<148) }
    /// Only GNU's has one; zero is none.
    var accessTime: Int64? {
        dialect == .gnu ? number(345..<357).flatMap { $0 > 0 ? $0 : nil } : nil
    }
    var deviceMajor: Int64? { dialect == .v7 ? 0 : number(329..<337) }
    var deviceMinor: Int64? { dialect == .v7 ? 0 : number(337..<345) }

    /// The sum of all bytes with the field itself as spaces; some old tars added signed bytes.
    var hasRightChecksum: Bool {
        // Behind the digits too, or libarchive stumbles.
        let isDigits = block[148..<156].allSatisfy {
            $0 == 0 || $0 == UInt8(ascii: " ") || (0x30...0x37).contains($0)
        }
        guard isDigits, let expected = number(148..<156) else { return false }
        var unsigned = 8 * Int64(UInt8(ascii: " "))
        var signed = unsigned
        for part in [block[..<148], block[156...]] {
            for byte in part {
                unsigned += Int64(byte)
                signed += Int64(Int8(bitPattern: byte))
            }
        }
        return expected == unsigned || expected == signed
    }

    private func number(_ field: Range<Int>) -> Int64? { Self.number(block[field]) }

    /// As Go reads it: digits may stand behind NULs. To GNU tar (behind two of them) and to libarchive such a time is 0; an
    /// archive of that kind exists, and a time decides about nothing else.
    private func time(_ field: Range<Int>) -> Int64? {
        let digits = block[field].drop(while: Self.isBlank)
        if digits.startIndex > field.lowerBound, let first = digits.first, first & 0x80 != 0 { return nil }
        return digits.isEmpty ? 0 : Self.number(digits)
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0 || byte == UInt8(ascii: " ") }

    /// Octal digits behind spaces and before a NUL or spaces, or GNU's base 256; a blank field is 0. Nil for anything else: for
    /// digits behind a NUL, which are a number to Go and 0 to libarchive, and for digits behind digits and a space.
    static func number(_ bytes: ArraySlice<UInt8>) -> Int64? {
        guard let first = bytes.first else { return nil }
        if first & 0x80 != 0 {
            // GNU tar and libarchive take no other number for one.
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

    /// Whether libarchive reads a sparse map here: wherever GNU's magic stands, whatever the type. A prefix
    /// of Go is taken out before libarchive gets the header.
    var hasSparseMap: Bool { dialect == .gnu && block[386] != 0 && goPrefix.isEmpty }
    /// Four pieces, of which the first empty one ends the map.
    var sparsePieces: ArraySlice<UInt8> { block[386..<482] }
    /// Whether blocks with more pieces follow.
    var isSparseMapContinued: Bool { block[482] != 0 }
    /// Holes included.
    var sparseSize: Int64? { number(483..<495) }

    // MARK: For libarchive

    /// Whether a body never follows, whatever size it states.
    var isHeaderOnly: Bool { (UInt8(ascii: "1")...UInt8(ascii: "6")).contains(type) }

    /// The header without the fields that libarchive would misread: Go's prefix, and the size of an entry without a body. Nil if
    /// it has none of them.
    ///
    /// - Parameter hasBody: whether the size counts.
    func plain(hasBody: Bool) -> [UInt8]? {
        let hasSize = !hasBody && size != 0
        guard hasSize || !goPrefix.isEmpty else { return nil }
        var plain = block
        func put(_ number: Int, digits: Int, at offset: Int) {
            let text = String(number, radix: 8)
            let padded = String(repeating: "0", count: digits - text.utf8.count) + text
            plain.replaceSubrange(offset..<offset + digits, with: padded.utf8)
            plain[offset + digits] = 0
        }
        if !goPrefix.isEmpty { plain.replaceSubrange(345..<500, with: repeatElement(0, count: 155)) }
        if hasSize { put(0, digits: 11, at: 124) }
        plain.replaceSubrange(148..<156, with: repeatElement(UInt8(ascii: " "), count: 8))
        put(plain.reduce(0) { $0 + Int($1) }, digits: 6, at: 148)
        return plain
    }
}
