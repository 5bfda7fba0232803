import CFuzzer
package import TestSupport

/// Mutates a tar entry by entry and fixes its checksums: nearly all random changes to its bytes would be rejected at
/// the first checksum, or at the length of a PAX record.
package struct TarMutator {
    /// Headers with the data that follows them, up to the next header.
    private var entries: [[UInt8]]
    private var random: Random
    private let names: [Bytes]

    private static let blockSize = 512

    /// - Parameters:
    ///   - seed: determines everything except the result of `LLVMFuzzerMutate`.
    ///   - names: names to choose from, in addition to mutated ones.
    private init(_ tar: [UInt8], seed: UInt32, names: [Bytes]) {
        entries = Self.split(tar)
        random = Random(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1)
        self.names = names
    }

    /// The body of `LLVMFuzzerCustomMutator`.
    package static func mutate(
        _ data: UnsafeMutablePointer<UInt8>?, _ size: Int, _ maximum: Int, seed: UInt32, names: [Bytes]
    ) -> Int {
        guard let data else { return 0 }
        var mutator = TarMutator(
            Array(UnsafeBufferPointer(start: data, count: size)), seed: seed, names: names)
        for _ in 0...mutator.random.below(3) { mutator.change() }
        var tar = mutator.entries.flatMap(\.self)
        // Invalid tars and wrong checksums must be covered too.
        if mutator.random.below(16) == 0 { tar = Self.mutated(tar, maximum: maximum) }
        guard (1...maximum).contains(tar.count) else { return LLVMFuzzerMutate(data, size, maximum) }
        _ = UnsafeMutableBufferPointer(start: data, count: maximum).update(fromContentsOf: tar)
        return tar.count
    }

    // MARK: Changes

    private mutating func change() {
        guard !entries.isEmpty else { return entries.append(newEntry()) }
        let index = random.below(entries.count)
        switch random.below(14) {
        case 0: entries.insert(newEntry(), at: index)
        case 1: entries.remove(at: index)
        case 2: entries.insert(entries[index], at: random.below(entries.count))
        case 3: entries.swapAt(index, random.below(entries.count))
        case 4: entries.insert(newRecords(), at: index)
        case 5: put(random.element(of: names), in: 0..<100, of: index)
        case 6: put(random.element(of: names), in: 157..<257, of: index)
        case 7: put([random.element(of: Self.types)], in: 156..<157, of: index)
        case 8: put(random.element(of: Self.numbers), in: random.element(of: Self.numberFields), of: index)
        case 9: put(random.element(of: Self.magics), in: 257..<265, of: index)
        case 10:
            let body = Self.mutated(Array(entries[index].dropFirst(Self.blockSize)), maximum: 2048)
            let block = entries[index].prefix(Self.blockSize)
            entries[index] = block + TarEntry.padded(body)
            if random.below(2) == 0 { put(Bytes(String(body.count, radix: 8)), in: 124..<136, of: index) }
        default:
            let field = random.element(of: Self.fields).clamped(to: 0..<entries[index].count)
            let bytes = Self.mutated(Array(entries[index][field]), maximum: field.count)
            put(Bytes(bytes), in: field, of: index)
        }
        if index < entries.count { sum(index) }
    }

    /// Overwrites a field and fills the rest of it with zeros.
    private mutating func put(_ bytes: Bytes, in field: Range<Int>, of index: Int) {
        guard field.upperBound <= entries[index].count else { return }
        let rest = [UInt8](repeating: 0, count: field.count)
        entries[index].replaceSubrange(field, with: (bytes.array + rest).prefix(field.count))
    }

    private mutating func newEntry() -> [UInt8] {
        var entry = TarEntry("0", random.element(of: names))
        entry.type = random.element(of: Self.types)
        entry.mode = Int64(random.below(0o10000))
        if random.below(8) == 0 { entry.uid = Int64(random.below(100_000)) }
        if [UInt8(ascii: "1"), UInt8(ascii: "2")].contains(entry.type) {
            entry.target = random.element(of: names)
        } else if [0, UInt8(ascii: "0"), UInt8(ascii: "7")].contains(entry.type) {
            entry.contents = Bytes([UInt8](repeating: UInt8(ascii: "x"), count: random.below(1200)))
        } else if [UInt8(ascii: "L"), UInt8(ascii: "K")].contains(entry.type) {
            entry.contents = random.element(of: names) + [0]
        }
        if random.below(4) == 0 { entry.records = records() }
        return entry.encoded
    }

    /// A separate PAX header, which applies to the entry it is inserted before.
    private mutating func newRecords() -> [UInt8] {
        var entry = TarEntry(random.below(8) == 0 ? "g" : "x", "PaxHeaders/entry")
        entry.contents = Bytes(records().flatMap(TarEntry.record))
        return entry.encoded
    }

    private mutating func records() -> [(key: String, value: Bytes)] {
        (0...random.below(3)).map { _ in
            let key = random.element(of: Self.keys)
            let value =
                switch random.below(4) {
                case 0: random.element(of: names)
                case 1: random.element(of: Self.numbers)
                case 2: random.element(of: Self.values)
                default: Bytes(Self.mutated(random.element(of: Self.values).array, maximum: 100))
                }
            return (key, value)
        }
    }

    // MARK: The archive

    /// Splits a tar at the ends of entries according to their sizes; anything that is not a header stays with the
    /// entry before.
    private static func split(_ tar: [UInt8]) -> [[UInt8]] {
        var entries = [[UInt8]]()
        var rest = tar[...]
        while !rest.isEmpty {
            let size = rest.dropFirst(124).prefix(12).prefix { $0 != 0 && $0 != UInt8(ascii: " ") }
            let content = Int(String(decoding: size, as: UTF8.self), radix: 8) ?? 0
            let hasContent = (0...1 << 20).contains(content)
            let blocks = 1 + (hasContent ? (content + blockSize - 1) / blockSize : 0)
            entries.append(Array(rest.prefix(blocks * blockSize)))
            rest = rest.dropFirst(blocks * blockSize)
        }
        return entries
    }

    /// Corrects the checksum of an entry's header.
    private mutating func sum(_ index: Int) {
        guard entries[index].count >= Self.blockSize, entries[index].contains(where: { $0 != 0 }) else {
            return
        }
        put("        ", in: 148..<156, of: index)
        let sum = entries[index].prefix(Self.blockSize).reduce(0) { $0 + Int($1) }
        let digits = String(sum, radix: 8)
        put(Bytes(String(repeating: "0", count: 6 - digits.count) + digits + "\0 "), in: 148..<156, of: index)
    }

    private static func mutated(_ bytes: [UInt8], maximum: Int) -> [UInt8] {
        var buffer = bytes + [UInt8](repeating: 0, count: max(1, maximum - bytes.count))
        let size = LLVMFuzzerMutate(&buffer, min(bytes.count, maximum), max(1, maximum))
        return Array(buffer.prefix(size))
    }

    // MARK: Vocabulary

    private static let types = Array("0001112223455567xxgLKSDVM".utf8) + [0]
    private static let fields = [
        0..<100, 100..<108, 108..<116, 116..<124, 124..<136, 136..<148, 156..<157, 157..<257, 257..<265,
        265..<297, 329..<337, 337..<345, 345..<500, 386..<482, 482..<483, 483..<495,
    ]
    private static let numberFields = [
        100..<108, 108..<116, 116..<124, 124..<136, 136..<148, 329..<337, 337..<345, 386..<398, 398..<410,
        483..<495,
    ]
    private static let numbers: [Bytes] = [
        "0", "1", "777", "4755", "1000", "-1", "7777777", "77777777777", "99", "", " 12 ",
        "4294967295", "9223372036854775807", "9223372036854775808", "1e9", "1.5", "-1.999999999",
        "1.9999999999",
        [0x80, 0, 0, 0, 0, 0, 0, 1], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        [0x80, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        [0xFF, 0xFF, 0xFF, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ]
    private static let magics: [Bytes] = ["ustar\u{0}00", "ustar  \0", "", "ustar\0\0\0"]
    private static let keys = [
        "path", "linkpath", "size", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment",
        "hdrcharset", "SCHILY.xattr.user.a", "SCHILY.xattr.trusted.overlay.opaque",
        "SCHILY.xattr.security.capability", "SCHILY.acl.access", "SCHILY.acl.default", "SCHILY.acl.ace",
        "SCHILY.devmajor", "SCHILY.devminor", "SCHILY.dev", "SCHILY.ino", "SCHILY.nlink", "SCHILY.realsize",
        "SCHILY.fflags", "LIBARCHIVE.xattr.user.b", "LIBARCHIVE.creationtime", "LIBARCHIVE.symlinktype",
        "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.name", "GNU.sparse.realsize", "GNU.sparse.size",
        "GNU.sparse.map", "GNU.sparse.numblocks", "GNU.sparse.offset", "GNU.sparse.numbytes",
    ]
    private static let values: [Bytes] = [
        "y", "YWJj", "BINARY", "ISO-IR 10646 2000 UTF-8", "0,512,1024,512", "1\n0\n512\n",
        "user::rwx,user:1000:r-x,group::r-x,mask::r-x,other::---", "group:0:rwx", "dir",
        [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
}

/// A deterministic random number generator (xorshift).
private struct Random {
    var state: UInt64

    mutating func below(_ bound: Int) -> Int {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Int(state >> 16) % bound
    }

    mutating func element<Element>(of elements: [Element]) -> Element { elements[below(elements.count)] }
}
