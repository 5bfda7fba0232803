package import Kernel

/// A member of a tar that `TarWriter` writes.
package struct TarMember: Sendable {
    package enum Content: Sendable {
        /// `ranges` are the ranges with data; nil means all of the file. In the tar they are extended to whole
        /// blocks.
        case regular(size: Int64, ranges: [Range<Int64>]?)
        case directory
        /// A hard link to an earlier member.
        case hardLink([UInt8])
        case symlink([UInt8])
        case fifo
        case character(DeviceNumber)
        case block(DeviceNumber)
    }

    /// Path from the root of the tree; empty for the root itself.
    package let path: [FileName]
    package let content: Content
    package let metadata: Metadata

    package init(path: [FileName], _ content: Content, _ metadata: Metadata) {
        self.path = path
        self.content = content
        self.metadata = metadata
    }

    /// The name in the tar: without a leading `/`, and with a trailing one for a directory.
    package static func tarName(of path: [FileName], isDirectory: Bool = false) -> [UInt8] {
        if path.isEmpty { return Array("./".utf8) }
        var name = [UInt8](path.map(\.bytes).joined(separator: [UInt8(ascii: "/")]))
        if isDirectory { name.append(UInt8(ascii: "/")) }
        return name
    }
}

extension TarMember {
    /// The member's header, preceded by an extended header if ustar's fields are too small (pax(1)), and followed by
    /// the map of a sparse file (GNU tar's PAX format 1.0).
    ///
    /// The bytes do not depend on an installed library. libarchive's writer changes the mode of a file with an access
    /// control list, and the names of extended attributes.
    ///
    /// - Throws: `.invalidName` for an extended attribute whose name contains `=`.
    func encoded() throws(ArchiveFailure.Reason) -> [UInt8] {
        var records = [UInt8]()
        var header = HeaderFields()
        header.mode = metadata.mode
        header.uid = fitting(Int64(metadata.uid), digits: 7, as: "uid", in: &records)
        header.gid = fitting(Int64(metadata.gid), digits: 7, as: "gid", in: &records)
        let time = metadata.modificationTime
        header.time = min(max(time.seconds, 0), (1 << 33) - 1)
        if time.nanoseconds != 0 || header.time != time.seconds { Self.add("mtime", time.text, to: &records) }
        var map = [UInt8]()
        var isDirectory = false
        switch content {
        case .regular(let size, let ranges):
            guard let ranges = Self.blocks(of: ranges, size: size) else {
                header.size = fitting(size, digits: 11, as: "size", in: &records)
                break
            }
            map = Self.map(of: ranges, size: size)
            let stored = Int64(map.count) + ranges.reduce(0) { $0 + Int64($1.count) }
            header.size = fitting(stored, digits: 11, as: "size", in: &records)
            Self.add("GNU.sparse.major", Array("1".utf8), to: &records)
            Self.add("GNU.sparse.minor", Array("0".utf8), to: &records)
            Self.add("GNU.sparse.name", Self.tarName(of: path), to: &records)
            Self.add("GNU.sparse.realsize", Array("\(size)".utf8), to: &records)
        case .directory:
            header.type = "5"
            isDirectory = true
        case .hardLink(let target):
            header.type = "1"
            header.link = fitting(target, as: "linkpath", in: &records)
        case .symlink(let target):
            header.type = "2"
            header.link = fitting(target, as: "linkpath", in: &records)
        case .character(let device):
            header.type = "3"
            header.device = device
        case .block(let device):
            header.type = "4"
            header.device = device
        case .fifo: header.type = "6"
        }
        header.name =
            map.isEmpty
            ? fitting(Self.tarName(of: path, isDirectory: isDirectory), as: "path", in: &records)
            : Array("GNUSparseFile.0".utf8)
        for attribute in metadata.extendedAttributes { try Self.add(attribute, to: &records) }
        return Self.extended(records) + header.encoded + map
    }

    // MARK: Records

    private static func extended(_ records: [UInt8]) -> [UInt8] {
        if records.isEmpty { return [] }
        var header = HeaderFields()
        header.type = "x"
        header.name = Array("PaxHeader".utf8)
        header.size = Int64(records.count)
        return header.encoded + records + padding(after: Int64(records.count))
    }

    /// Returns the number if it fits into the field; otherwise 0, and adds a record.
    private func fitting(_ number: Int64, digits: Int64, as key: String, in records: inout [UInt8]) -> Int64 {
        if number < 1 << (3 * digits) { return number }
        Self.add(key, Array("\(number)".utf8), to: &records)
        return 0
    }

    /// Returns the name if it fits into the field; otherwise its beginning, and adds a record.
    private func fitting(_ name: [UInt8], as key: String, in records: inout [UInt8]) -> [UInt8] {
        if name.count <= 100 { return name }
        Self.add(key, name, to: &records)
        return Array(name.prefix(100))
    }

    /// Adds a record `length key=value` with a newline; the length includes its own digits.
    private static func add(_ key: some Sequence<UInt8>, _ value: [UInt8], to records: inout [UInt8]) {
        let key = Array(key)
        let rest = key.count + value.count + 3
        var length = rest + 1
        while rest + String(length).utf8.count > length { length += 1 }
        records += "\(length) ".utf8
        records += key
        records.append(UInt8(ascii: "="))
        records += value
        records.append(UInt8(ascii: "\n"))
    }

    private static func add(_ key: String, _ value: [UInt8], to records: inout [UInt8]) {
        add(key.utf8, value, to: &records)
    }

    private static func add(
        _ attribute: ExtendedAttribute, to records: inout [UInt8]
    ) throws(ArchiveFailure.Reason) {
        if let list = AccessControlList(encoded: attribute.value) {
            if attribute.name == .accessControl { return add("SCHILY.acl.access", list.text, to: &records) }
            if attribute.name == .defaultAccessControl {
                return add("SCHILY.acl.default", list.text, to: &records)
            }
        }
        guard !attribute.name.bytes.contains(UInt8(ascii: "=")) else {
            throw .invalidName("no record can name the extended attribute \(attribute.name)")
        }
        add(Array("SCHILY.xattr.".utf8) + attribute.name.bytes, attribute.value, to: &records)
    }

    /// Extends ranges of data to multiples of 512 bytes, but not beyond the end of the file: GNU tar reads every
    /// piece of a sparse file in whole blocks, and reads wrong data if a piece ends within a block.
    ///
    /// - Returns: nil if no hole is left.
    static func blocks(of ranges: [Range<Int64>]?, size: Int64) -> [Range<Int64>]? {
        guard let ranges else { return nil }
        var blocks = [Range<Int64>]()
        for range in ranges where !range.isEmpty {
            let start = range.lowerBound & ~511
            let end = range.upperBound > size - 511 ? size : (range.upperBound + 511) & ~511
            if let last = blocks.last, last.upperBound >= start {
                blocks[blocks.count - 1] = last.lowerBound..<end
            } else {
                blocks.append(start..<end)
            }
        }
        return blocks == [0..<size] || size == 0 ? nil : blocks
    }

    private static func map(of ranges: [Range<Int64>], size: Int64) -> [UInt8] {
        // A file that ends with a hole gets an empty piece at its end, as GNU tar writes it.
        let all = ranges.last?.upperBound == size ? ranges : ranges + [size..<size]
        let text = ([Int64(all.count)] + all.flatMap { [$0.lowerBound, Int64($0.count)] }).map { "\($0)\n" }
            .joined()
        return Array(text.utf8) + padding(after: Int64(text.utf8.count))
    }

    /// Zeros up to the next block boundary.
    static func padding(after size: Int64) -> [UInt8] {
        [UInt8](repeating: 0, count: Int((512 - size % 512) % 512))
    }
}

/// A ustar header (pax(1), "ustar Interchange Format").
private struct HeaderFields {
    var name = [UInt8]()
    var mode: UInt32 = 0o644
    var uid: Int64 = 0
    var gid: Int64 = 0
    var size: Int64 = 0
    var time: Int64 = 0
    var type: Character = "0"
    var link = [UInt8]()
    var device = DeviceNumber(major: 0, minor: 0)

    var encoded: [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: some Collection<UInt8>, at offset: Int) {
            block.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        }
        func put(_ number: Int64, digits: Int, at offset: Int) {
            put(String(number, radix: 8, minimumDigits: digits).utf8, at: offset)
        }
        put(name, at: 0)
        put(Int64(mode), digits: 7, at: 100)
        put(uid, digits: 7, at: 108)
        put(gid, digits: 7, at: 116)
        put(size, digits: 11, at: 124)
        put(time, digits: 11, at: 136)
        put("        ".utf8, at: 148)
        put(String(type).utf8, at: 156)
        put(link, at: 157)
        put("ustar".utf8, at: 257)
        put("00".utf8, at: 263)
        put(Int64(device.major), digits: 7, at: 329)
        put(Int64(device.minor), digits: 7, at: 337)
        put(block.reduce(0) { $0 + Int64($1) }, digits: 6, at: 148)
        block[154] = 0
        return block
    }
}

extension Timestamp {
    /// Decimal seconds with a fraction; a time before 1970 as a negative number.
    fileprivate var text: [UInt8] {
        let isNegative = seconds < 0
        let borrows = isNegative && nanoseconds > 0
        let whole = isNegative ? (seconds + (borrows ? 1 : 0)).magnitude : seconds.magnitude
        let fraction = borrows ? 1_000_000_000 - nanoseconds : nanoseconds
        let digits = fraction == 0 ? "" : "." + String(fraction, minimumDigits: 9)
        return Array("\(isNegative ? "-" : "")\(whole)\(digits)".utf8)
    }
}
