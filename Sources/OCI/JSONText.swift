internal import FoundationEssentials

/// JSON text that any two readers interpret alike and that is safe to parse. The parser recurses at each level and
/// allocates memory for each value, so both are limited before it sees the text. Known keys are normalized to the
/// case of the specification.
struct JSONText {
    /// Maximum nesting depth. Image documents have less than ten levels.
    static let deepest = 100
    /// Maximum number of keys and values. Ten thousand descriptors with platforms and annotations have fewer; 16 MiB
    /// of JSON could hold eight million.
    static let mostValues = 1 << 18

    private let bytes: [UInt8]

    /// - Throws: `DocumentError` if the bytes are not JSON, are nested too deeply, have too many values, or have a
    ///   duplicate key. Known keys that differ only in case are duplicates.
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

/// Checks the text in one pass: encoding, depth, number of values, duplicate keys. The parser reports other syntax
/// errors.
private struct Scanner {
    private let bytes: [UInt8]
    private var position = 0
    private var values = 0
    /// The open objects and arrays, outermost first.
    private var open = [Container]()
    /// The shape of the next value.
    private var next: JSONShape
    /// Known keys with a case that differs from the specification: their ranges in the text, quotes included.
    private var misspelled = [(range: Range<Int>, name: String)]()

    private struct Container {
        /// The keys so far, folded if the object has known keys; empty for an array.
        var keys = Set<String>()
        /// Nil for an array, a map, and an unknown object.
        let fields: JSONShape.Fields?
        /// The shape of an array's elements.
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
        for (range, name) in misspelled {
            result += bytes[position..<range.lowerBound]
            result += "\"\(name)\"".utf8
            position = range.upperBound
        }
        return result + bytes[position...]
    }

    mutating func scan() throws(DocumentError) {
        try checkEncoding()
        skipSpace()
        if position == bytes.count { throw DocumentError("it is empty") }
        while position < bytes.count {
            if open.isEmpty, values > 0 {
                throw DocumentError("not valid JSON: unexpected data after the document, at byte \(position)")
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
            throw DocumentError("more than \(JSONText.mostValues) keys and values, which is the limit")
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

    /// Records a key of the innermost object. Readers disagree on which of two equal keys counts, so a duplicate is
    /// an error. Go programs also treat known keys as equal if they differ only in case.
    private mutating func add(key: String, at range: Range<Int>) throws(DocumentError) {
        let fields = open[open.count - 1].fields
        let name = fields == nil ? key : key.foldedAsKey
        guard open[open.count - 1].keys.insert(name).inserted else {
            throw DocumentError(
                "the key '\(key.prefix(64))' occurs twice\(fields == nil ? "" : ", ignoring case"), "
                    + "at byte \(range.lowerBound)")
        }
        let field = fields?[folded: name]
        next = field?.shape ?? .free
        // Compared as bytes: Swift considers U+212A and K equal.
        if let field, !field.name.utf8.elementsEqual(key.utf8) { misspelled.append((range, field.name)) }
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
