/// One header block of a tar (pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
struct RawHeader {
    enum Dialect { case v7, ustar, gnu }

    static let blockSize = 512

    private let block: [UInt8]

    init(_ block: [UInt8]) { self.block = block }

    var type: UInt8 { block[156] }

    /// As libarchive tells them apart, so that both look for a sparse map in the same headers.
    var dialect: Dialect {
        if block[257..<265].elementsEqual(Array("ustar  \0".utf8)) { return .gnu }
        return block[257..<262].elementsEqual(Array("ustar".utf8)) ? .ustar : .v7
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
        case .gnu:
            // Go before 1.8 wrote a prefix where GNU has times; its reader tells it by that they are no numbers.
            let hasTimes = number(345..<357) != nil && number(357..<369) != nil
            let prefix = text(345..<500)
            return hasTimes || isSparse || prefix.contains { $0 >= 0x80 } ? [] : prefix
        }
    }

    /// Up to the first NUL.
    private func text(_ field: Range<Int>) -> [UInt8] { Array(block[field].prefix { $0 != 0 }) }

    // MARK: Numbers

    var mode: Int64? { number(100..<108) }
    var uid: Int64? { number(108..<116) }
    var gid: Int64? { number(116..<124) }
    /// Bytes of the body.
    var size: Int64? { number(124..<136) }
    var modificationTime: Int64? { number(136..<148) }
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

    /// Octal digits among spaces and NULs, or GNU's base-256 with the top bit set. Nil for anything else.
    static func number(_ bytes: ArraySlice<UInt8>) -> Int64? {
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

    // MARK: GNU's old sparse map

    var isSparse: Bool { type == UInt8(ascii: "S") }

    /// Whether libarchive reads a sparse map here: wherever GNU's magic stands, whatever the type.
    var hasSparseMap: Bool { dialect == .gnu && block[386] != 0 }
    /// Four pieces, of which the first empty one ends the map.
    var sparsePieces: ArraySlice<UInt8> { block[386..<482] }
    /// Whether blocks with more pieces follow.
    var isSparseMapContinued: Bool { block[482] != 0 }
    /// Holes included.
    var sparseSize: Int64? { number(483..<495) }
}
