extension TarEntry {
    private static let blockSize = 512
    private static let longestName = 100

    /// The header blocks and the padded content.
    package var encoded: [UInt8] {
        var bytes = [UInt8]()
        var records = records
        for (key, flag, name) in [("path", "L", path), ("linkpath", "K", target)]
        where name.array.count > Self.longestName {
            if usesGNUNames {
                bytes += Self.extra(Character(flag), name: "././@LongLink", name.array + [0])
            } else if !records.contains(where: { $0.key == key }) {
                records.append((key, name))
            }
        }
        let needsTimeRecord = nanoseconds != 0 || seconds < 0 || seconds >= 1 << 33
        if needsTimeRecord, !records.contains(where: { $0.key == "mtime" }) {
            records.append(("mtime", timeRecord))
        }
        if !records.isEmpty {
            bytes += Self.extra("x", name: "PaxHeaders/entry", records.flatMap(Self.record))
        }
        return bytes + header + Self.padded(contents.array)
    }

    /// A PAX global header.
    package static func globalHeader(_ key: String, _ value: Bytes) -> TarEntry {
        var entry = TarEntry("g", "pax_global_header")
        entry.contents = Bytes(record(key: key, value: value))
        return entry
    }

    private var header: [UInt8] {
        var block = [UInt8](repeating: 0, count: Self.blockSize)
        func put(_ bytes: [UInt8], at offset: Int) {
            for (index, byte) in bytes.enumerated() { block[offset + index] = byte }
        }
        put(Array(path.array.prefix(Self.longestName)), at: 0)
        put(Self.number(mode, width: 8), at: 100)
        put(Self.number(uid, width: 8), at: 108)
        put(Self.number(gid, width: 8), at: 116)
        put(Self.number(statedSize ?? Int64(contents.array.count), width: 12), at: 124)
        put(Self.number(max(0, min(seconds, 1 << 33 - 1)), width: 12), at: 136)
        block[156] = type
        put(Array(target.array.prefix(Self.longestName)), at: 157)
        put(Array("ustar\u{0}00".utf8), at: 257)
        put(Self.number(major, width: 8), at: 329)
        put(Self.number(minor, width: 8), at: 337)
        edit?(&block)
        return Self.summed(block, wrongly: hasWrongChecksum)
    }

    private static func summed(_ header: [UInt8], wrongly: Bool) -> [UInt8] {
        var block = header
        for index in 148..<156 { block[index] = UInt8(ascii: " ") }
        let sum = block.reduce(0) { $0 + Int($1) } + (wrongly ? 1 : 0)
        block.replaceSubrange(148..<156, with: octal(Int64(sum), digits: 6) + [0, UInt8(ascii: " ")])
        return block
    }

    /// Decimal seconds. The fraction of a negative time counts away from zero (pax(1)).
    private var timeRecord: Bytes {
        func fraction(_ value: Int64) -> String {
            let digits = String(value)
            return value == 0 ? "" : "." + String(repeating: "0", count: 9 - digits.count) + digits
        }
        if seconds >= 0 || nanoseconds == 0 { return "\(seconds)\(fraction(nanoseconds))" }
        return "-\(-(seconds + 1))\(fraction(1_000_000_000 - nanoseconds))"
    }

    /// A PAX record `<length> <key>=<value>\n`, whose length includes its own digits.
    package static func record(key: String, value: Bytes) -> [UInt8] {
        let rest = Array(" \(key)=".utf8) + value.array + [UInt8(ascii: "\n")]
        var length = rest.count
        while String(length).utf8.count + rest.count != length {
            length = String(length).utf8.count + rest.count
        }
        return Array(String(length).utf8) + rest
    }

    private static func extra(_ type: Character, name: Bytes, _ contents: [UInt8]) -> [UInt8] {
        var entry = TarEntry(type, name)
        entry.contents = Bytes(contents)
        return entry.header + padded(contents)
    }

    package static func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: (blockSize - bytes.count % blockSize) % blockSize)
    }

    /// A numeric field: octal if the number fits, else base 256 of GNU tar.
    private static func number(_ value: Int64, width: Int) -> [UInt8] {
        if value >= 0, String(value, radix: 8).utf8.count < width {
            return octal(value, digits: width - 1) + [0]
        }
        let bytes = (0..<width).map { index -> UInt8 in
            let shift = 8 * (width - 1 - index)
            return UInt8(truncatingIfNeeded: shift > 63 ? value >> 63 : value >> Int64(shift))
        }
        return [value < 0 ? 0xFF : bytes[0] | 0x80] + bytes.dropFirst()
    }

    private static func octal(_ value: Int64, digits: Int) -> [UInt8] {
        let text = String(value, radix: 8)
        return Array((String(repeating: "0", count: max(0, digits - text.utf8.count)) + text).utf8)
    }
}
