internal import Kernel

/// The PAX records of one entry that libarchive loses or bends (pax(1), "pax Extended Header").
struct ExtendedHeader {
    struct Malformed: Error { let reason: String }

    private(set) var size: Int64?
    private(set) var modificationTime: Timestamp?
    private(set) var accessTime: Timestamp?
    /// From `SCHILY.xattr.*`, which wins over `LIBARCHIVE.xattr.*`.
    private(set) var extendedAttributes = [AttributeName: [UInt8]]()
    private(set) var isEmpty = true

    /// Adds the records `<length> <key>=<value>\n`; a later one wins.
    mutating func parse(_ bytes: [UInt8]) throws(Malformed) {
        isEmpty = false
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let space = rest.prefix(20).firstIndex(of: UInt8(ascii: " ")),
                let length = Int(String(decoding: rest[..<space], as: UTF8.self)),
                length > space - rest.startIndex + 1, length <= rest.count
            else { throw Malformed(reason: "malformed PAX record") }
            let end = rest.startIndex + length
            let record = rest[(space + 1)..<end]
            guard record.last == UInt8(ascii: "\n"), let equals = record.firstIndex(of: UInt8(ascii: "="))
            else {
                throw Malformed(reason: "malformed PAX record")
            }
            try take(key: record[..<equals], value: record[(equals + 1)...].dropLast())
            rest = rest[end...]
        }
    }

    private mutating func take(key: ArraySlice<UInt8>, value: ArraySlice<UInt8>) throws(Malformed) {
        if key.starts(with: Self.xattrPrefix) {
            guard let name = AttributeName(key.dropFirst(Self.xattrPrefix.count)) else {
                throw Malformed(reason: "unusable extended attribute name '\(escaped(key))'")
            }
            extendedAttributes[name] = Array(value)
            return
        }
        let text = String(decoding: value, as: UTF8.self)
        switch String(decoding: key, as: UTF8.self) {
        case "path", "linkpath":
            if value.contains(0) { throw Malformed(reason: "a NUL in the name '\(escaped(value))'") }
        case "size":
            guard !value.isEmpty, value.allSatisfy({ (0x30...0x39).contains($0) }), let size = Int64(text)
            else {
                throw Malformed(reason: "a size of '\(escaped(value))'")
            }
            self.size = size
        case "mtime": modificationTime = try Self.time(text)
        case "atime": accessTime = try Self.time(text)
        default: break
        }
    }

    private static let xattrPrefix = Array("SCHILY.xattr.".utf8)

    /// Decimal seconds with an optional fraction and sign; finer than a nanosecond is cut towards the past.
    private static func time(_ text: String) throws(Malformed) -> Timestamp? {
        if text.isEmpty { return nil }
        let isNegative = text.hasPrefix("-")
        let parts = text.drop { $0 == "-" }.split(
            separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        let fraction = parts.count > 1 ? parts[1] : ""
        let digits = fraction.prefix(9)
        guard let whole = parts.first.flatMap({ Int64($0.isEmpty ? "0" : $0) }),
            fraction.allSatisfy(\.isNumber),
            let nanoseconds = UInt32(digits + String(repeating: "0", count: 9 - digits.count))
        else { throw Malformed(reason: "a time of '\(escaped(text.utf8))'") }
        if !isNegative { return Timestamp(seconds: whole, nanoseconds: nanoseconds) }
        let isCut = fraction.dropFirst(9).contains { $0 != "0" }
        let before = nanoseconds + (isCut ? 1 : 0)
        if before == 0 { return Timestamp(seconds: -whole, nanoseconds: 0) }
        return Timestamp(seconds: -whole - 1, nanoseconds: 1_000_000_000 - before)
    }
}
