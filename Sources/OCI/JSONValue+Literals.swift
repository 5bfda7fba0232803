internal import FoundationEssentials

/// JSON written in code, and read where its shape is not known.
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

    /// A member of an object; nil where there is none, and where it is null.
    package subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self, let value = members[key], value != .null else { return nil }
        return value
    }

    package var text: String? { if case .string(let text) = self { text } else { nil } }

    /// The strings of an array; of a string that stands alone, that one.
    package var texts: [String]? {
        switch self {
        case .array(let elements): elements.compactMap(\.text)
        case .string(let text): [text]
        default: nil
        }
    }

    package var members: [String: JSONValue]? { if case .object(let members) = self { members } else { nil } }

    /// The document for people, with a newline at its end; always the same for the same value.
    package var indented: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Only a number that is none has no JSON form, and none was ever read from one.
        return ((try? encoder.encode(self)).map(Array.init) ?? []) + [UInt8(ascii: "\n")]
    }
}
