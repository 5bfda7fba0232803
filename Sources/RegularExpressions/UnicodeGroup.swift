/// The code points of a set of Unicode's general categories (Unicode Standard Annex #44), or all other ones.
struct UnicodeGroup: Hashable {
    static let last: UInt32 = 0x10FFFF

    /// One bit for each category.
    let categories: UInt32
    let isNegated: Bool

    /// - Parameter name: a category, e.g. `Lu`, or the first letter of several, e.g. `L`.
    /// - Returns: nil for an unknown name.
    init?(named name: String, isNegated: Bool) {
        let found = Self.names.filter { $0.key == name || name.count == 1 && $0.key.hasPrefix(name) }
        if found.isEmpty { return nil }
        categories = found.values.reduce(0) { $0 | Self.bit(of: $1) }
        self.isNegated = isNegated
    }

    /// The bit of the category of a code point.
    static func category(of scalar: UInt32) -> UInt32 {
        // A code point that is not a scalar is a surrogate.
        bit(of: Unicode.Scalar(scalar)?.properties.generalCategory ?? .surrogate)
    }

    private static func bit(of category: Unicode.GeneralCategory) -> UInt32 { bits[category] ?? 0 }

    /// Without unassigned code points, whose category has no name in Go.
    private static let bits = Dictionary(
        uniqueKeysWithValues: names.values.enumerated().map { ($1, UInt32(1) << $0) })

    private static let names: [String: Unicode.GeneralCategory] = [
        "Lu": .uppercaseLetter, "Ll": .lowercaseLetter, "Lt": .titlecaseLetter, "Lm": .modifierLetter,
        "Lo": .otherLetter, "Mn": .nonspacingMark, "Mc": .spacingMark, "Me": .enclosingMark,
        "Nd": .decimalNumber, "Nl": .letterNumber, "No": .otherNumber, "Pc": .connectorPunctuation,
        "Pd": .dashPunctuation, "Ps": .openPunctuation, "Pe": .closePunctuation, "Pi": .initialPunctuation,
        "Pf": .finalPunctuation, "Po": .otherPunctuation, "Sm": .mathSymbol, "Sc": .currencySymbol,
        "Sk": .modifierSymbol, "So": .otherSymbol, "Zs": .spaceSeparator, "Zl": .lineSeparator,
        "Zp": .paragraphSeparator, "Cc": .control, "Cf": .format, "Cs": .surrogate, "Co": .privateUse,
    ]
}
