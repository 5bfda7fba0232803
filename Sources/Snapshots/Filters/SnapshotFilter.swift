internal import Kernel
package import RegularExpressions

/// A filter for snapshots in containerd's filter language (containerd `pkg/filters`).
///
///     filter    := "" | selector ("," selector)*            all must match; an empty filter matches everything
///     selector  := path [operator value]                    without an operator: the field is present
///     path      := part ("." part)*
///     part      := [A-Za-z0-9_]+ | quoted
///     operator  := "==" | "!=" | "~="                       equal, not equal, matches a regular expression
///     value     := quoted | graphic characters but "," and whitespace, beginning with none of . = ! ~ / | "
///     quoted    := a Go string in double quotes; after "~=" also between / / or | |, with the same escapes
///
/// White space may come before a part, an operator and a value. `!=` and `~=` treat an absent field as an empty one;
/// `==` does not match it.
///
/// Regular expressions are RE2's and match anywhere in the value, as in containerd. Invalid ones, and those that
/// `RegularExpression` does not support, are refused; containerd logs them and matches nothing. Quoted bytes that are
/// not UTF-8 are refused, too.
package struct SnapshotFilter: Sendable {
    private enum Test: Sendable {
        case present
        case equal(String)
        case notEqual(String)
        case matches(RegularExpression)

        func matches(
            _ value: String?, _ budget: inout StepBudget
        ) throws(StepBudget.Exhausted) -> Bool {
            // By bytes: String's equality does not distinguish composed and decomposed characters.
            switch self {
            case .present: value != nil
            case .equal(let wanted): value.map { $0.utf8.elementsEqual(wanted.utf8) } ?? false
            case .notEqual(let unwanted): !(value ?? "").utf8.elementsEqual(unwanted.utf8)
            case .matches(let pattern): try pattern.isFound(in: value ?? "", &budget)
            }
        }
    }

    private struct Selector: Sendable {
        let path: [String]
        let test: Test
    }

    private var selectors = [Selector]()

    /// The maximum number of filters of one call.
    package static let maximumCount = 100
    /// The maximum of bytes of all filters of one call together.
    package static let maximumLength = 16 << 10
    /// The maximum of steps of all filters of one call together: any client may send filters, and calls share a few
    /// threads. Such a call ends after about a second. An alternation of ten words, `a|b|…`, takes 3,000 steps for a
    /// name of 90 characters, and 30 million for 10,000 snapshots.
    package static let maximumSteps = 40_000_000

    /// Parses the filters of one call, of which one has to match.
    ///
    /// - Throws: `.invalidArgument` for a malformed filter, and for more than `maximumCount` or `maximumLength`.
    package static func parse(_ texts: [String]) throws(StoreFailure) -> [SnapshotFilter] {
        let length = texts.reduce(0) { $0 + $1.utf8.count }
        if texts.count > maximumCount || length > maximumLength {
            throw StoreFailure(
                .invalidArgument,
                "\(texts.count) filters of \(length) bytes: a call takes \(maximumCount) of \(maximumLength) bytes at most"
            )
        }
        var filters = [SnapshotFilter]()
        for text in texts { filters.append(try SnapshotFilter(parsing: text)) }
        return filters
    }

    /// - Throws: `.invalidArgument`; the message has the offset of the byte and what was expected there.
    package init(parsing text: String) throws(StoreFailure) {
        guard !text.isEmpty else { return }
        var parser = Parser(text)
        repeat { selectors.append(try Self.selector(&parser)) } while parser.take(",")
        if !parser.isAtEnd { throw parser.expected("',' or the end") }
    }

    private static func selector(_ parser: inout Parser) throws(StoreFailure) -> Selector {
        var path = [try parser.part()]
        while parser.take(".") { path.append(try parser.part()) }
        if parser.isAtEnd || parser.next == "," { return Selector(path: path, test: .present) }
        switch try parser.operation() {
        case .equal: return Selector(path: path, test: .equal(try parser.value(quotes: ["\""])))
        case .notEqual: return Selector(path: path, test: .notEqual(try parser.value(quotes: ["\""])))
        case .matches:
            let start = parser.position
            let expression = try parser.value(quotes: ["\"", "/", "|"])
            guard let pattern = RegularExpression(expression) else {
                throw parser.expected("a regular expression", at: start)
            }
            return Selector(path: path, test: .matches(pattern))
        }
    }

    /// - Parameters:
    ///   - budget: the budget of the call, of `maximumSteps`.
    ///   - field: the value at a field path, e.g. `["labels", "a", "b"]`; nil if it is absent.
    /// - Throws: `.resourceExhausted`.
    package func matches(
        _ budget: inout StepBudget, _ field: ([String]) -> String?
    ) throws(StoreFailure) -> Bool {
        do {
            for selector in selectors {
                try budget.spend(Self.lookupCost + selector.path.count)
                guard try selector.test.matches(field(selector.path), &budget) else { return false }
            }
            return true
        } catch {
            throw StoreFailure(
                .resourceExhausted, "the filters take too much work for the snapshots that there are",
                hint: "use == or simpler regular expressions")
        }
    }

    /// Steps for the lookup and the comparison of a field.
    private static let lookupCost = 10

    /// Whether one of several filters matches; no filter at all matches everything.
    package static func any(
        _ filters: [SnapshotFilter], _ budget: inout StepBudget, _ field: ([String]) -> String?
    ) throws(StoreFailure) -> Bool {
        for filter in filters where try filter.matches(&budget, field) { return true }
        return filters.isEmpty
    }

    package static func any(
        _ filters: [SnapshotFilter], _ info: SnapshotInfo, _ budget: inout StepBudget
    ) throws(StoreFailure) -> Bool {
        try any(filters, &budget) {
            field($0, name: info.name, parent: info.parent, kind: info.kind, labels: info.labels)
        }
    }

    /// The value of a snapshot's field: `name`, `parent`, `kind` or `labels.<key>`. A key with dots is written as
    /// several parts or quoted. A name and a parent are always present: a missing parent is empty (containerd
    /// `core/snapshots/storage`).
    package static func field(
        _ path: [String], name: String, parent: String?, kind: SnapshotInfo.Kind, labels: [String: String]
    ) -> String? {
        switch path.first {
        case "name": name
        case "parent": parent ?? ""
        case "kind": kind.rawValue
        case "labels": labels[path.dropFirst().joined(separator: ".")]
        default: nil
        }
    }
}

// MARK: Parsing

private struct Parser {
    enum Operation: String, CaseIterable {
        case equal = "=="
        case notEqual = "!="
        case matches = "~="
    }

    private let text: String
    private let scalars: [Unicode.Scalar]
    /// In scalars.
    private(set) var position = 0

    init(_ text: String) {
        self.text = text
        scalars = Array(text.unicodeScalars)
    }

    var isAtEnd: Bool { position == scalars.count }
    var next: Unicode.Scalar? { isAtEnd ? nil : scalars[position] }

    mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard next == scalar else { return false }
        position += 1
        return true
    }

    private mutating func takeAll(_ shouldContinue: (Unicode.Scalar) -> Bool) -> String {
        var taken = String.UnicodeScalarView()
        while let scalar = next, shouldContinue(scalar) {
            taken.append(scalar)
            position += 1
        }
        return String(taken)
    }

    private mutating func skipWhitespace() { _ = takeAll(\.properties.isWhitespace) }

    func expected(_ what: String, at position: Int? = nil) -> StoreFailure {
        let byte = scalars.prefix(position ?? self.position).reduce(0) { $0 + UTF8.width($1) }
        return StoreFailure(
            .invalidArgument,
            "the filter '\(escaped(text.utf8))' is malformed at byte \(byte): expected \(what)"
        )
    }

    mutating func part() throws(StoreFailure) -> String {
        skipWhitespace()
        if next == "\"" { return try quoted() }
        let name = takeAll { $0 == "_" || $0.isASCIIAlphanumeric }
        if name.isEmpty { throw expected("a field, in quotes unless it has only letters, digits and '_'") }
        return name
    }

    mutating func operation() throws(StoreFailure) -> Operation {
        skipWhitespace()
        let start = position
        guard let operation = Operation(rawValue: takeAll { "=!~".unicodeScalars.contains($0) }) else {
            throw expected("'==', '!=' or '~='", at: start)
        }
        return operation
    }

    mutating func value(quotes: [Unicode.Scalar]) throws(StoreFailure) -> String {
        skipWhitespace()
        if let quote = next, quotes.contains(quote) { return try quoted() }
        // A value cannot begin with a separator, an operator, or a quote that this operator does not take.
        if let first = next, ".=!~/|".unicodeScalars.contains(first) { throw expected("a value") }
        let value = takeAll { $0 != "," && !$0.properties.isWhitespace && $0.properties.isGraphic }
        if value.isEmpty { throw expected("a value") }
        return value
    }

    /// Parses a Go string (The Go Programming Language Specification, "String literals"); its first character is the
    /// quote.
    private mutating func quoted() throws(StoreFailure) -> String {
        let start = position
        guard let quote = next else { throw expected("a quote") }
        position += 1
        var bytes = [UInt8]()
        while true {
            // Go reads NUL and the replacement character from invalid UTF-8.
            guard let scalar = next, scalar != "\n", scalar != "\0", scalar != "\u{FFFD}" else {
                throw expected("\(quote) at the end of the quoted text that begins at byte \(start)")
            }
            position += 1
            if scalar == quote { break }
            if scalar == "\\" {
                try escape(quote, onto: &bytes)
            } else {
                bytes += UTF8.encode(scalar).map(Array.init) ?? []
            }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw expected("UTF-8 in quotes", at: start)
        }
        return text
    }

    private mutating func escape(
        _ quote: Unicode.Scalar, onto bytes: inout [UInt8]
    ) throws(StoreFailure) {
        let start = position - 1
        guard let letter = next else { throw expected("an escape sequence", at: start) }
        position += 1
        switch letter {
        case "a": bytes.append(0x07)
        case "b": bytes.append(0x08)
        case "t": bytes.append(0x09)
        case "n": bytes.append(0x0A)
        case "v": bytes.append(0x0B)
        case "f": bytes.append(0x0C)
        case "r": bytes.append(0x0D)
        case "\\": bytes.append(0x5C)
        case quote: bytes += UTF8.encode(quote).map(Array.init) ?? []
        case "x":
            guard let byte = UInt8(digits(2), radix: 16) else { throw expected("\\xNN", at: start) }
            bytes.append(byte)
        case "0"..."7":
            position -= 1
            guard let byte = UInt8(digits(3), radix: 8) else { throw expected("\\NNN", at: start) }
            bytes.append(byte)
        case "u", "U":
            guard let code = UInt32(digits(letter == "u" ? 4 : 8), radix: 16),
                let scalar = Unicode.Scalar(code)
            else { throw expected("a code point in hexadecimal digits", at: start) }
            bytes += UTF8.encode(scalar).map(Array.init) ?? []
        default: throw expected("an escape sequence", at: start)
        }
    }

    /// Takes `count` hexadecimal digits; returns "", which is no number, if there are fewer.
    private mutating func digits(_ count: Int) -> String {
        let found = scalars[position...].prefix(count).prefix(while: \.properties.isASCIIHexDigit)
        guard found.count == count else { return "" }
        position += count
        return String(String.UnicodeScalarView(found))
    }
}

extension Unicode.Scalar {
    fileprivate var isASCIIAlphanumeric: Bool {
        switch self {
        case "A"..."Z", "a"..."z", "0"..."9": true
        default: false
        }
    }
}

extension Unicode.Scalar.Properties {
    /// Letters, marks, numbers, punctuation and symbols (Go: `unicode.IsGraphic`); the caller excludes spaces.
    fileprivate var isGraphic: Bool {
        switch generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator:
            false
        default: true
        }
    }
}
