internal import FoundationEssentials

/// Literals, for JSON that is built in code, and accessors, for JSON of unknown shape.
extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(elements) { $1 })
    }

    package init(_ strings: [String]) { self = .array(strings.map { .string($0) }) }

    /// A member of an object; nil if it is missing or null.
    package subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self, let value = members[key], value != .null else { return nil }
        return value
    }

    package var text: String? { if case .string(let text) = self { text } else { nil } }

    /// The strings of an array; for a single string, an array of that string.
    package var texts: [String]? {
        switch self {
        case .array(let elements): elements.compactMap(\.text)
        case .string(let text): [text]
        default: nil
        }
    }

    package var members: [String: JSONValue]? { if case .object(let members) = self { members } else { nil } }

    /// The value as indented JSON with a newline at the end; equal values give equal bytes.
    package var indented: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Encoding fails only for a non-finite number, and none is ever decoded from JSON.
        return ((try? encoder.encode(self)).map(Array.init) ?? []) + [UInt8(ascii: "\n")]
    }
}
