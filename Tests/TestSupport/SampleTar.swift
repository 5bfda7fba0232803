/// A tar archive with every kind of header, and ways to damage it.
package struct SampleTar: Sendable, CustomStringConvertible {
    package static let entries: [TarEntry] = [
        .directory("d"),
        .file("d/f", Bytes(String(repeating: "x", count: 700))).xattr("user.a", "1").at(-1, 5),
        .symlink("l", to: "../d"), .hardLink("h", to: "d/f"), .character("c", 1, 3),
        .file(Bytes(String(repeating: "n", count: 120)), "name").withGNUNames(),
        .file("sparse", "abc").pax("GNU.sparse.size", "9000").pax("GNU.sparse.map", "0,1,5000,2"),
        .file("old", "abc").type(UInt8(ascii: "S")).editing { header in
            header.replaceSubrange(257..<265, with: Array("ustar  \0".utf8))
            header.replaceSubrange(386..<410, with: Array("00000000005\u{0}00000000003\u{0}".utf8))
            header.replaceSubrange(483..<495, with: Array("00000000020\u{0}".utf8))
        },
    ]

    package static let whole = SampleTar(entries)
    /// One archive per entry.
    package static let single = entries.map { SampleTar([$0]) }

    package let description: String
    package let bytes: [UInt8]
    /// Offsets between entries, with the number of entries that end before each; includes the start and the end of the
    /// entries.
    package let boundaries: [Int: Int]
    /// Offsets of the headers.
    package let headers: [Int]

    private init(_ entries: [TarEntry]) {
        description = entries.map(\.description).joined(separator: ", ")
        bytes = LayerBuilder(entries).tar
        var offset = 0
        var boundaries = [0: 0]
        for (index, entry) in entries.enumerated() {
            offset += entry.encoded.count
            boundaries[offset] = index + 1
        }
        self.boundaries = boundaries
        var headers = [Int]()
        offset = 0
        while bytes[offset] != 0 {
            headers.append(offset)
            let size = bytes[(offset + 124)..<(offset + 135)].reduce(0) {
                $0 * 8 + Int($1 - UInt8(ascii: "0"))
            }
            offset += 512 + (size + 511) / 512 * 512
        }
        self.headers = headers
    }

    // MARK: Damage

    /// The archive with one bit or all bits of a byte flipped.
    package func flipping(_ offset: Int) -> [UInt8] {
        var tar = bytes
        tar[offset] ^= offset % 2 == 0 ? 0x01 : 0xFF
        return tar
    }

    /// The archive with one bit of a header's byte flipped, and a correct checksum.
    package func flipping(_ offset: Int, ofHeader header: Int) -> [UInt8] {
        let place = header + offset
        return changing(place..<(place + 1), to: [bytes[place] ^ 0x01], ofHeader: header)
    }

    /// Copies of the archive with various values in each field of a header, and correct checksums.
    package func changingFields(ofHeader header: Int) -> [[UInt8]] {
        Self.fields.flatMap { field in
            Self.values.map { value in
                let start = header + field.lowerBound
                return changing(start..<(start + field.count), to: value(field.count), ofHeader: header)
            }
        }
    }

    /// Fields of pax(1), "ustar Interchange Format", and the different ones of GNU tar.
    private static let fields = [
        0..<100, 100..<108, 108..<116, 116..<124, 124..<136, 136..<148, 156..<157, 157..<257, 257..<265,
        265..<297,
        297..<329, 329..<337, 337..<345, 345..<500, 386..<398, 398..<410, 482..<483, 483..<495,
    ]

    private static let values: [@Sendable (Int) -> [UInt8]] = [
        { Array(repeating: 0, count: $0) }, { Array(repeating: 0xFF, count: $0) },
        { Array(repeating: UInt8(ascii: "7"), count: $0) },
        { Array(repeating: UInt8(ascii: "/"), count: $0) },
        { [0x80] + Array(repeating: 0xFF, count: $0 - 1) },
        { Array("../canary/file".utf8.prefix($0)) + Array(repeating: 0, count: max(0, $0 - 14)) },
    ]

    private func changing(_ range: Range<Int>, to value: [UInt8], ofHeader header: Int) -> [UInt8] {
        var tar = bytes
        tar.replaceSubrange(range, with: value)
        let field = (header + 148)..<(header + 156)
        tar.replaceSubrange(field, with: Array(repeating: UInt8(ascii: " "), count: 8))
        let digits = String(tar[header..<(header + 512)].reduce(0) { $0 + Int($1) }, radix: 8)
        let sum = String(repeating: "0", count: 6 - digits.count) + digits + "\u{0} "
        tar.replaceSubrange(field, with: Array(sum.utf8))
        return tar
    }
}
