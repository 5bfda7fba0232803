internal import FoundationEssentials

/// Bytes that two readers would understand alike, and that the parser can be given: it recurses at each level and
/// keeps a few words for each value, so that both are counted before it sees a byte. Known keys have the case of the
/// specification, whatever the case in the document.
struct JSONText {
    /// Documents of images have less than ten levels.
    static let deepest = 100
    /// Keys and values. Ten thousand descriptors with platforms and annotations have fewer, and 16 MiB could hold
    /// eight million.
    static let mostValues = 1 << 18

    private let bytes: [UInt8]

    /// - Throws: `DocumentError` for what is no JSON text, is too deep or too large, or has a key twice: in an object with
    ///   known keys also in another case.
    init(checking bytes: [UInt8], as shape: JSONShape) throws(DocumentError) {
        var scanner = Scanner(bytes, shape)
        try scanner.scan()
        self.bytes = scanner.normalized
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
    /// Objects and arrays that are open.
    private var open = [Container]()
    /// The shape of the value that comes next.
    private var next: JSONShape
    /// Known keys in another case than the specification's: their places in the text, quotes included.
    private var misspelled = [(place: Range<Int>, name: String)]()

    private struct Container {
        /// The keys so far, folded if there are known ones; an array has none.
        var keys = Set<String>()
        /// Nil for an array, a map, and what is not known.
        let fields: JSONShape.Fields?
        /// Of the values of an array.
        let element: JSONShape
    }

    init(_ bytes: [UInt8], _ shape: JSONShape) {
        self.bytes = bytes
        next = shape
    }

    /// The text with the known keys in the case of the specification.
    var normalized: [UInt8] {
        if misspelled.isEmpty { return bytes }
        var result = [UInt8]()
        var position = 0
        for (place, name) in misspelled {
            result += bytes[position..<place.lowerBound]
            result += "\"\(name)\"".utf8
            position = place.upperBound
        }
        return result + bytes[position...]
    }

    mutating func scan() throws(DocumentError) {
        try checkEncoding()
        skipSpace()
        if position == bytes.count { throw DocumentError("it is empty") }
        while position < bytes.count {
            if open.isEmpty, values > 0 {
                throw DocumentError("not valid JSON: something follows its end, at byte \(position)")
            }
            switch bytes[position] {
            case UInt8(ascii: "{"): try enter(Container(fields: next.fields, element: .free))
            case UInt8(ascii: "["): try enter(Container(fields: nil, element: next.element))
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                _ = open.popLast()
                position += 1
            case UInt8(ascii: ","):
                next = open.last?.element ?? .free
                position += 1
            case UInt8(ascii: ":"): position += 1
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

    private mutating func enter(_ container: Container) throws(DocumentError) {
        try count()
        open.append(container)
        next = container.element
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
        try add(key: isEscaped ? unescaped(start..<end) : text(start + 1..<end - 1), at: start..<end)
    }

    /// The first or the last of two equal keys: readers differ, so there must not be two. Go's readers also take keys for
    /// equal that only differ in case, where they know the keys.
    private mutating func add(key: String, at place: Range<Int>) throws(DocumentError) {
        let fields = open[open.count - 1].fields
        let name = fields == nil ? key : key.foldedAsKey
        guard open[open.count - 1].keys.insert(name).inserted else {
            throw DocumentError(
                "the key '\(key.prefix(64))' is there twice\(fields == nil ? "" : ", regardless of case"), "
                    + "at byte \(place.lowerBound)")
        }
        let field = fields?[folded: name]
        next = field?.shape ?? .free
        // By bytes: Swift takes U+212A for K, too.
        if let field, !field.name.utf8.elementsEqual(key.utf8) { misspelled.append((place, field.name)) }
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
