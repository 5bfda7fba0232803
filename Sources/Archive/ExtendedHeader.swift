internal import Kernel

/// The records of a PAX header (pax(1), "pax Extended Header"). The last record of a key wins; an empty value cancels
/// the record, so that the field of the header block counts.
struct ExtendedHeader {
    typealias Reason = ArchiveFailure.Reason

    private(set) var path: [UInt8]?
    private(set) var linkPath: [UInt8]?
    private(set) var size: Int64?
    /// Whether there is a size record without digits, which libarchive reads as 0.
    private(set) var hasEmptySize = false
    private(set) var uid: Int64?
    private(set) var gid: Int64?
    private(set) var modificationTime: Timestamp?
    private(set) var accessTime: Timestamp?
    private(set) var deviceMajor: Int64?
    private(set) var deviceMinor: Int64?
    /// Attributes from `SCHILY.xattr.*`, which take precedence over `LIBARCHIVE.xattr.*`; an empty value is an empty
    /// attribute.
    private(set) var extendedAttributes = [AttributeName: [UInt8]]()
    private(set) var accessControlLists = [AttributeName: AccessControlList]()
    private var seenLists = Set<String>()
    private(set) var sparse = SparseRecords()

    /// Maximum length of a record in libarchive.
    private static let longestRecord = 999_999

    /// Parses the records `<length> <key>=<value>\n`.
    init(_ bytes: [UInt8]) throws(Reason) {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let space = rest.prefix(8).firstIndex(of: UInt8(ascii: " ")),
                let length = Self.number(rest[..<space]), length <= Self.longestRecord,
                Int(length) > space - rest.startIndex + 1, Int(length) <= rest.count
            else { throw .malformed("a malformed PAX record") }
            let end = rest.startIndex + Int(length)
            let record = rest[(space + 1)..<end]
            guard record.last == UInt8(ascii: "\n"), let equals = record.firstIndex(of: UInt8(ascii: "=")),
                equals > record.startIndex, !record[..<equals].contains(0)
            else { throw .malformed("a malformed PAX record") }
            try take(
                String(decoding: record[..<equals], as: UTF8.self), key: record[..<equals],
                record[(equals + 1)...].dropLast())
            rest = rest[end...]
        }
    }

    private mutating func take(
        _ name: String, key: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>
    ) throws(Reason) {
        switch name {
        case "path": path = try Self.path(value)
        case "linkpath": linkPath = try Self.path(value)
        case "size":
            size = try Self.number(value, name)
            hasEmptySize = size == nil
            if let size, size < 0 { throw .malformed("a size of \(size)") }
        case "uid": uid = try Self.number(value, name)
        case "gid": gid = try Self.number(value, name)
        case "mtime": modificationTime = try Self.time(value)
        case "atime": accessTime = try Self.time(value)
        case "SCHILY.devmajor": deviceMajor = try Self.number(value, name)
        case "SCHILY.devminor": deviceMinor = try Self.number(value, name)
        case "SCHILY.acl.access", "SCHILY.acl.default", "SCHILY.acl.ace":
            try takeAccessControlList(name, value)
        // Solaris also stores the data of holes, and libarchive then drops the data in them.
        case "SUN.holesdata": throw .malformed("a sparse map of Solaris")
        case _ where name.hasPrefix("GNU.sparse."): try sparse.take(name.dropFirst(11), value)
        case _ where key.starts(with: Self.xattrPrefix):
            guard let attribute = AttributeName(key.dropFirst(Self.xattrPrefix.count)) else {
                throw .malformed("an extended attribute without a usable name, '\(shown(key))'")
            }
            extendedAttributes[attribute] = Array(value)
        default: break
        }
    }

    private static let xattrPrefix = Array("SCHILY.xattr.".utf8)

    private mutating func takeAccessControlList(
        _ name: String, _ value: ArraySlice<UInt8>
    ) throws(Reason) {
        guard value.count <= AccessControlList.longestText else {
            throw .malformed(
                "\(name) of \(value.count) bytes, and at most \(AccessControlList.longestText) are read")
        }
        // libarchive would append the second list to the first.
        guard seenLists.insert(name).inserted else { throw .malformed("a second \(name)") }
        if value.isEmpty { return }
        switch name {
        case "SCHILY.acl.access":
            // A list of three entries is equivalent to the mode.
            let list = try AccessControlList(text: value)
            if list.count > 3 { accessControlLists[.accessControl] = list }
        case "SCHILY.acl.default":
            accessControlLists[.defaultAccessControl] = try AccessControlList(text: value)
        default: break
        }
    }

    // MARK: Values

    /// Parses a path. NULs are rejected because libarchive truncates names at a NUL.
    static func path(_ value: ArraySlice<UInt8>) throws(Reason) -> [UInt8]? {
        if value.contains(0) { throw .malformed("a NUL in the name '\(shown(value))'") }
        return value.isEmpty ? nil : Array(value)
    }

    /// Parses a decimal number with an optional sign; nil for an empty value.
    static func number(_ value: ArraySlice<UInt8>, _ what: String) throws(Reason) -> Int64? {
        if value.isEmpty { return nil }
        let isNegative = value.first == UInt8(ascii: "-")
        guard let number = number(isNegative ? value.dropFirst() : value) else {
            throw .malformed("a \(what) of '\(shown(value))'")
        }
        return isNegative ? -number : number
    }

    /// Parses digits; nil if there are none, other characters, or too many.
    private static func number(_ digits: ArraySlice<UInt8>) -> Int64? {
        guard !digits.isEmpty, digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return Int64(String(decoding: digits, as: UTF8.self))
    }

    /// Parses decimal seconds with an optional sign and fraction; digits finer than a nanosecond are rounded down.
    private static func time(_ value: ArraySlice<UInt8>) throws(Reason) -> Timestamp? {
        if value.isEmpty { return nil }
        let isNegative = value.first == UInt8(ascii: "-")
        let parts = (isNegative ? value.dropFirst() : value).split(
            separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        let fraction = parts.count > 1 ? parts[1] : []
        let padding = [UInt8](repeating: UInt8(ascii: "0"), count: 9 - fraction.prefix(9).count)
        guard let whole = parts[0].isEmpty && !fraction.isEmpty ? 0 : number(parts[0]),
            let nanoseconds = number(fraction.prefix(9) + padding).map(UInt32.init(truncatingIfNeeded:)),
            fraction.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { throw .malformed("a time of '\(shown(value))'") }
        if !isNegative { return Timestamp(seconds: whole, nanoseconds: nanoseconds) }
        let isCut = fraction.dropFirst(9).contains { $0 != UInt8(ascii: "0") }
        let before = nanoseconds + (isCut ? 1 : 0)
        if before == 0 { return Timestamp(seconds: -whole, nanoseconds: 0) }
        return Timestamp(seconds: -whole - 1, nanoseconds: 1_000_000_000 - before)
    }
}
