internal import FoundationEssentials

/// Bytes that two readers would understand alike, and that the parser can be given: it recurses at each level and
/// keeps a few words for each value, so that both are counted before it sees a byte.
struct JSONText {
    /// Documents of images have less than ten levels.
    static let deepest = 100
    /// Keys and values. Ten thousand descriptors with platforms and annotations have fewer, and 16 MiB could hold
    /// eight million.
    static let mostValues = 1 << 18

    private let bytes: [UInt8]

    init(checking bytes: [UInt8]) throws(DocumentError) {
        var scanner = Scanner(bytes)
        try scanner.scan()
        self.bytes = bytes
    }

    func decode<Value: Decodable>(_ type: Value.Type) throws(DocumentError) -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch let error as DecodingError {
            throw DocumentError(explain(error))
        } catch {
            throw DocumentError("\(error)")
        }
    }
}

/// One pass over the bytes that counts and compares; what is JSON beyond that, the parser says.
private struct Scanner {
    private let bytes: [UInt8]
    private var position = 0
    private var values = 0
    /// The keys so far of each object that is open; an array has none.
    private var open = [Set<String>]()

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func scan() throws(DocumentError) {
        try checkEncoding()
        skipSpace()
        if position == bytes.count { throw DocumentError("it is empty") }
        while position < bytes.count {
            if open.isEmpty, values > 0 {
                throw DocumentError("not valid JSON: something follows its end, at byte \(position)")
            }
            switch bytes[position] {
            case UInt8(ascii: "{"), UInt8(ascii: "["): try enter()
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                _ = open.popLast()
                position += 1
            case UInt8(ascii: ":"), UInt8(ascii: ","): position += 1
            case UInt8(ascii: "\""): try string()
            default: try word()
            }
            skipSpace()
        }
        if !open.isEmpty { throw Self.cutOff }
    }

    private func checkEncoding() throws(DocumentError) {
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
            throw DocumentError(
                "it begins with a byte order mark, which JSON must not (RFC 8259, section 8.1)")
        }
        do {
            _ = try UTF8Span(validating: bytes.span)
        } catch {
            throw DocumentError("not valid UTF-8, at byte \(error.byteOffsets.lowerBound)")
        }
    }

    private mutating func skipSpace() {
        while position < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[position]) { position += 1 }
    }

    private mutating func enter() throws(DocumentError) {
        try count()
        open.append([])
        position += 1
        if open.count > JSONText.deepest {
            throw DocumentError("nested too deeply: more than \(JSONText.deepest) levels")
        }
    }

    private mutating func count() throws(DocumentError) {
        values += 1
        if values > JSONText.mostValues {
            throw DocumentError("more than \(JSONText.mostValues) keys and values, and no more are read")
        }
    }

    /// A number, `true`, `false`, `null`.
    private mutating func word() throws(DocumentError) {
        try count()
        let start = position
        while position < bytes.count, isWordByte(bytes[position]) { position += 1 }
        if position == start { throw DocumentError("not valid JSON, at byte \(position)") }
    }

    private func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "E"),
            UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    private mutating func string() throws(DocumentError) {
        try count()
        let start = position
        var isEscaped = false
        position += 1
        while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
            let isEscape = bytes[position] == UInt8(ascii: "\\")
            isEscaped = isEscaped || isEscape
            position += isEscape ? 2 : 1
        }
        if position >= bytes.count { throw Self.cutOff }
        position += 1
        let end = position
        skipSpace()
        guard position < bytes.count, bytes[position] == UInt8(ascii: ":"), !open.isEmpty else { return }
        try remember(isEscaped ? unescaped(start..<end) : text(start + 1..<end - 1), at: start)
    }

    /// The first or the last of two equal keys: readers differ, so there must not be two.
    private mutating func remember(_ key: String, at place: Int) throws(DocumentError) {
        guard open[open.count - 1].insert(key).inserted else {
            throw DocumentError("the key '\(key.prefix(64))' is there twice, at byte \(place)")
        }
    }

    private func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    private func unescaped(_ range: Range<Int>) throws(DocumentError) -> String {
        do {
            return try JSONDecoder().decode(String.self, from: Data(bytes[range]))
        } catch {
            throw DocumentError("not valid JSON, at byte \(range.lowerBound)")
        }
    }

    private static let cutOff = DocumentError("not valid JSON: it ends too early")
}
