/// A scalar of a text, with the code points that match it.
struct FoldedScalar {
    let value: UInt32
    /// `CaseFolding.key`; the value itself if the expression is case-sensitive.
    let key: UInt32
    /// `CaseFolding.orbit`; empty if the expression is case-sensitive.
    let orbit: [UInt32]
    /// The categories of the value and of its orbit, as bits of `UnicodeGroup`; 0 if no class needs them.
    let categories: UInt32

    init(_ value: UInt32, ignoresCase: Bool, hasCategories: Bool) {
        self.value = value
        key = ignoresCase ? CaseFolding.key(value) : value
        orbit = ignoresCase ? CaseFolding.orbit(of: value) : []
        categories = hasCategories ? ([value] + orbit).reduce(0) { $0 | UnicodeGroup.category(of: $1) } : 0
    }
}

/// Simple case folding of code points (Unicode's CaseFolding.txt, status C and S).
enum CaseFolding {
    /// One code point that represents all that differ only in case.
    static func key(_ scalar: UInt32) -> UInt32 {
        if scalar < 0x80 { return (0x41...0x5A).contains(scalar) ? scalar + 0x20 : scalar }
        return lower(upper(scalar))
    }

    /// All code points that differ from one only in case, with the code point itself.
    static func orbit(of scalar: UInt32) -> [UInt32] {
        scalar < 0x80 ? asciiOrbits[Int(scalar)] : makeOrbit(of: scalar)
    }

    private static let asciiOrbits = (UInt32(0)...0x7F).map(makeOrbit)

    private static func makeOrbit(of scalar: UInt32) -> [UInt32] {
        let key = key(scalar)
        let orbit = [scalar, key, upper(key), single(key) { $0.titlecaseMapping }]
        return orbit + (othersByKey[key] ?? [])
    }

    /// The code points that case folding adds to a group of ASCII: the long s and the kelvin sign fold to letters.
    static func closure(ofASCII group: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
        group
            + (UInt32(0)...0x7F).filter { scalar in group.contains { $0.contains(scalar) } }
            .flatMap(orbit).map { $0...$0 }
    }

    private static func upper(_ scalar: UInt32) -> UInt32 { single(scalar) { $0.uppercaseMapping } }

    private static func lower(_ scalar: UInt32) -> UInt32 { single(scalar) { $0.lowercaseMapping } }

    /// Nil if the mapping has several scalars and is not simple.
    private static func single(
        _ scalar: UInt32, _ mapping: (Unicode.Scalar.Properties) -> String
    ) -> UInt32 {
        guard let mapped = Unicode.Scalar(scalar).map({ mapping($0.properties).unicodeScalars }),
            let first = mapped.first, mapped.count == 1,
            // The upper case of the dotless i is I, and simple case folding does not fold the two.
            scalar != 0x131
        else { return scalar }
        return first.value
    }

    private static let othersByKey = Dictionary(grouping: others, by: key)

    /// Code points that are no lower, upper or title case of another one.
    private static let others: [UInt32] = [
        0xB5, 0x17F, 0x345, 0x3C2, 0x3D0, 0x3D1, 0x3D5, 0x3D6, 0x3F0, 0x3F1, 0x3F4, 0x3F5, 0x1C80, 0x1C81,
        0x1C82, 0x1C83, 0x1C84, 0x1C85, 0x1C86, 0x1C87, 0x1C88, 0x1E9B, 0x1E9E, 0x1FBE, 0x2126, 0x212A,
        0x212B,
    ]
}
