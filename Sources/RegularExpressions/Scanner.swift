/// Parses the parts of a regular expression that do not depend on their surroundings.
struct Scanner {
    typealias Malformed = RegularExpression.Parser.Malformed

    private let scalars: [Unicode.Scalar]
    private var position = 0
    /// Whether no `:]` follows: a search for it at each bracket would take quadratic time.
    private var hasAllNames = false

    init(_ text: String) { scalars = Array(text.unicodeScalars) }

    var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    mutating func take() -> Unicode.Scalar? {
        guard let scalar = next else { return nil }
        position += 1
        return scalar
    }

    mutating func take(_ wanted: String) -> Bool {
        guard scalars[position...].starts(with: wanted.unicodeScalars) else {
            return false
        }
        position += wanted.unicodeScalars.count
        return true
    }

    /// The text before the next `wanted`; takes both. Nil, and takes nothing, if `wanted` does not follow.
    private mutating func take(upTo wanted: String) -> ArraySlice<Unicode.Scalar>? {
        let length = wanted.unicodeScalars.count
        var end = position
        while end + length <= scalars.count {
            if scalars[end...].starts(with: wanted.unicodeScalars) {
                defer { position = end + length }
                return scalars[position..<end]
            }
            end += 1
        }
        return nil
    }

    // MARK: Groups and repetitions

    /// After `\Q`: the text before `\E`, or the rest.
    mutating func takeQuoted() -> ArraySlice<Unicode.Scalar> {
        if let quoted = take(upTo: #"\E"#) { return quoted }
        defer { position = scalars.count }
        return scalars[position...]
    }

    /// After `(?P<`.
    mutating func groupName() throws(Malformed) {
        guard let name = take(upTo: ">"), !name.isEmpty,
            name.allSatisfy({ scalar in ASCIIGroups.word.contains { $0.contains(scalar.value) } })
        else { throw Malformed() }
    }

    /// After its first scalar. Nil if a brace is a literal.
    mutating func repetition(_ first: Unicode.Scalar) throws(Malformed) -> Repetition? {
        switch first {
        case "*": return Repetition(low: 0, high: nil)
        case "+": return Repetition(low: 1, high: nil)
        case "?": return Repetition(low: 0, high: 1)
        default: break
        }
        let start = position
        guard let low = count() else { return backAt(start) }
        var high: Int? = low
        if take(",") {
            high = nil
            if next != "}" {
                guard let number = count() else { return backAt(start) }
                high = number
            }
        }
        guard take("}") else { return backAt(start) }
        let repetition = Repetition(low: low, high: high)
        if low > Repetition.limit || repetition.most > Repetition.limit || repetition.most < low {
            throw Malformed()
        }
        return repetition
    }

    private mutating func backAt(_ start: Int) -> Repetition? {
        position = start
        return nil
    }

    /// A number without leading zeros; a number above the maximum may be any such.
    private mutating func count() -> Int? {
        let digits = scalars[position...].prefix { ("0"..."9").contains($0) }
        if digits.isEmpty || digits.count > 1 && digits.first == "0" { return nil }
        position += digits.count
        return digits.reduce(0) { min($0 * 10 + Int($1.value - 0x30), Repetition.limit + 1) }
    }

    // MARK: Escapes

    /// The scalar that an escape sequence stands for; the backslash has been taken.
    mutating func escapedScalar() throws(Malformed) -> UInt32 {
        guard let scalar = take() else { throw Malformed() }
        switch scalar {
        case "a": return 0x07
        case "t": return 0x09
        case "n": return 0x0A
        case "v": return 0x0B
        case "f": return 0x0C
        case "r": return 0x0D
        case "x": return try hexadecimal()
        case "0"..."7":
            // A digit other than zero is a back reference.
            if scalar != "0", next.map({ ("0"..."7").contains($0) }) != true { throw Malformed() }
            position -= 1
            let digits = scalars[position...].prefix(3).prefix { ("0"..."7").contains($0) }
            position += digits.count
            return digits.reduce(0) { $0 * 8 + $1.value - 0x30 }
        default:
            guard scalar.isASCII, !ASCIIGroups.alphanumeric.contains(where: { $0.contains(scalar.value) })
            else { throw Malformed() }
            return scalar.value
        }
    }

    private mutating func hexadecimal() throws(Malformed) -> UInt32 {
        let digits: ArraySlice<Unicode.Scalar>
        if take("{") {
            guard let braced = take(upTo: "}"), !braced.isEmpty else { throw Malformed() }
            digits = braced
        } else {
            digits = scalars[position...].prefix(2)
            guard digits.count == 2 else { throw Malformed() }
            position += 2
        }
        var code: UInt32 = 0
        for digit in digits {
            guard digit.properties.isASCIIHexDigit, let value = Character(digit).hexDigitValue else {
                throw Malformed()
            }
            code = code * 16 + UInt32(value)
            if code > UnicodeGroup.last { throw Malformed() }
        }
        return code
    }

    // MARK: Classes

    /// After a backslash: `d`, `PN`, `p{Lu}` and the like.
    ///
    /// - Returns: whether such a group follows.
    mutating func group(into scalars: inout ScalarClass) throws(Malformed) -> Bool {
        guard let letter = next else { throw Malformed() }
        if letter == "p" || letter == "P" {
            _ = take()
            try unicodeGroup(isNegated: letter == "P", into: &scalars)
            return true
        }
        let positive = letter.properties.lowercaseMapping.unicodeScalars.first ?? letter
        guard letter.isASCII, let group = ASCIIGroups.escape(positive) else { return false }
        _ = take()
        scalars.insert(ascii: group, isNegated: letter != positive)
        return true
    }

    private mutating func unicodeGroup(isNegated: Bool, into scalars: inout ScalarClass) throws(Malformed) {
        var isNegated = isNegated
        var name: ArraySlice<Unicode.Scalar>
        if take("{") {
            guard let braced = take(upTo: "}") else { throw Malformed() }
            name = braced
            if name.first == "^" {
                isNegated.toggle()
                name.removeFirst()
            }
        } else {
            guard let letter = take() else { throw Malformed() }
            name = [letter]
        }
        let text = String(String.UnicodeScalarView(name))
        if text == "Any" {
            if !isNegated { scalars.insert(0...UnicodeGroup.last) }
        } else if let group = UnicodeGroup(named: text, isNegated: isNegated) {
            scalars.insert(group)
        } else {
            throw Malformed()
        }
    }

    /// After `[`.
    mutating func characterClass(_ ignoresCase: Bool) throws(Malformed) -> ScalarClass {
        var found = ScalarClass(ignoresCase: ignoresCase)
        let isNegated = take("^")
        var isFirst = true
        // A closing bracket at the beginning is a literal.
        while isFirst || next != "]" {
            isFirst = false
            if try namedGroup(into: &found) { continue }
            if next == "\\" {
                let start = position
                position += 1
                if try group(into: &found) { continue }
                position = start
            }
            let low = try classScalar()
            var high = low
            // A hyphen at the end is a literal.
            if next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" {
                position += 1
                high = try classScalar()
            }
            if high < low { throw Malformed() }
            found.insert(low...high)
        }
        position += 1
        found.finish(isNegated: isNegated)
        return found
    }

    /// `[:alpha:]`, `[:^alpha:]`.
    private mutating func namedGroup(into found: inout ScalarClass) throws(Malformed) -> Bool {
        let start = position
        guard !hasAllNames, take("[:") else { return false }
        guard var name = take(upTo: ":]") else {
            // Then the characters are literals.
            position = start
            hasAllNames = true
            return false
        }
        let isNegated = name.first == "^"
        if isNegated { name.removeFirst() }
        guard let group = ASCIIGroups.named[String(String.UnicodeScalarView(name))] else { throw Malformed() }
        found.insert(ascii: group, isNegated: isNegated)
        return true
    }

    private mutating func classScalar() throws(Malformed) -> UInt32 {
        guard let scalar = take() else { throw Malformed() }
        return scalar == "\\" ? try escapedScalar() : scalar.value
    }
}
