/// A set of code points.
struct ScalarClass {
    /// Sorted; no two overlap or are adjacent.
    private var ranges = [ClosedRange<UInt32>]()
    /// The categories of groups that are not negated.
    private var categories: UInt32 = 0
    /// The categories of each negated group.
    private var negatedGroups = Set<UInt32>()
    private var isNegated = false
    /// Whether a code point is a member if one that differs only in case is.
    private let ignoresCase: Bool

    init(ignoresCase: Bool = false) { self.ignoresCase = ignoresCase }

    init(_ ranges: [ClosedRange<UInt32>]) {
        ignoresCase = false
        self.ranges = Self.merged(ranges)
    }

    mutating func insert(_ range: ClosedRange<UInt32>) { ranges.append(range) }

    mutating func insert(_ group: UnicodeGroup) {
        if group.isNegated { negatedGroups.insert(group.categories) } else { categories |= group.categories }
    }

    /// - Parameter isNegated: all code points but these; `ignoresCase` adds none of these.
    mutating func insert(ascii group: [ClosedRange<UInt32>], isNegated: Bool) {
        let group = ignoresCase ? CaseFolding.closure(ofASCII: group) : group
        ranges += isNegated ? Self.complement(Self.merged(group)) : group
    }

    /// Ends the insertions.
    mutating func finish(isNegated: Bool) {
        ranges = Self.merged(ranges)
        self.isNegated = isNegated
    }

    func contains(_ scalar: FoldedScalar) -> Bool { holds(scalar) != isNegated }

    private func holds(_ scalar: FoldedScalar) -> Bool {
        if ignoresCase ? scalar.orbit.contains(where: isInRanges) : isInRanges(scalar.value) { return true }
        return scalar.categories & categories != 0
            || negatedGroups.contains { scalar.categories & $0 == 0 }
    }

    /// Whether membership depends on `FoldedScalar.categories`.
    var hasCategories: Bool { categories != 0 || !negatedGroups.isEmpty }

    private func isInRanges(_ scalar: UInt32) -> Bool {
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < scalar { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].contains(scalar)
    }

    private static func merged(_ ranges: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
        var merged = [ClosedRange<UInt32>]()
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = merged.last, range.lowerBound <= last.upperBound + 1 {
                merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                merged.append(range)
            }
        }
        return merged
    }

    /// - Parameter ranges: merged ranges.
    private static func complement(_ ranges: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
        var complement = [ClosedRange<UInt32>]()
        var next: UInt32 = 0
        for range in ranges {
            if next < range.lowerBound { complement.append(next...range.lowerBound - 1) }
            next = range.upperBound + 1
        }
        if next <= UnicodeGroup.last { complement.append(next...UnicodeGroup.last) }
        return complement
    }
}

/// The groups of ASCII, e.g. `\d` and `[:alpha:]`.
enum ASCIIGroups {
    static let word: [ClosedRange<UInt32>] = named["word"] ?? []
    static let alphanumeric: [ClosedRange<UInt32>] = named["alnum"] ?? []

    /// By the letter after the backslash.
    static func escape(_ letter: Unicode.Scalar) -> [ClosedRange<UInt32>]? {
        switch letter {
        case "d": named["digit"]
        // Without the vertical tab.
        case "s": [0x09...0x0A, 0x0C...0x0D, 0x20...0x20]
        case "w": word
        default: nil
        }
    }

    static let named: [String: [ClosedRange<UInt32>]] = [
        "alnum": [0x30...0x39, 0x41...0x5A, 0x61...0x7A], "alpha": [0x41...0x5A, 0x61...0x7A],
        "ascii": [0x00...0x7F], "blank": [0x09...0x09, 0x20...0x20], "cntrl": [0x00...0x1F, 0x7F...0x7F],
        "digit": [0x30...0x39], "graph": [0x21...0x7E], "lower": [0x61...0x7A], "print": [0x20...0x7E],
        "punct": [0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E], "space": [0x09...0x0D, 0x20...0x20],
        "upper": [0x41...0x5A], "word": [0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A],
        "xdigit": [0x30...0x39, 0x41...0x46, 0x61...0x66],
    ]
}
