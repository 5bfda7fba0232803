/// The code points of some of Unicode's general categories (Unicode Standard Annex #44), or all but these.
struct UnicodeGroup: Hashable {
    static let last: UInt32 = 0x10FFFF

    private let categories: Set<Unicode.GeneralCategory>
    private let isNegated: Bool

    /// - Parameter name: of a category, `Lu`, or of all that begin with one letter, `L`. Nil if there is none of that name.
    init?(named name: String, isNegated: Bool) {
        let found = Self.names.filter { $0.key == name || name.count == 1 && $0.key.hasPrefix(name) }
        if found.isEmpty { return nil }
        categories = Set(found.values)
        self.isNegated = isNegated
    }

    func contains(_ scalar: UInt32) -> Bool { isNamed(scalar) != isNegated }

    /// - Parameter orbit: code points that differ in case only.
    func contains(anyOf orbit: [UInt32]) -> Bool { orbit.contains(where: isNamed) != isNegated }

    private func isNamed(_ scalar: UInt32) -> Bool {
        // What is no scalar is a surrogate.
        categories.contains(Unicode.Scalar(scalar)?.properties.generalCategory ?? .surrogate)
    }

    /// What is not assigned has no name in Go.
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
