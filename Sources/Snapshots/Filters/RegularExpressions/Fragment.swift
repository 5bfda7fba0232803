/// A part of a program. Its jumps are relative, so that it means the same wherever it stands.
struct Fragment {
    typealias Instruction = RegularExpression.Instruction

    private(set) var code: [Instruction]
    /// How often its innermost part is repeated at most, by counts that multiply.
    private(set) var repeats: Int

    init(_ code: [Instruction] = [], repeats: Int = 1) {
        self.code = code
        self.repeats = repeats
    }

    mutating func append(_ other: Fragment) {
        code += other.code
        repeats = max(repeats, other.repeats)
    }

    /// One of several.
    init(anyOf alternatives: [Fragment]) {
        self.init()
        // Each but the last has a split before it and a jump to the end behind it.
        var rest = alternatives.reduce(2 * (alternatives.count - 1)) { $0 + $1.code.count }
        for alternative in alternatives.dropLast() {
            let count = alternative.code.count
            rest -= count + 2
            code.append(.split(count + 2))
            append(alternative)
            code.append(.jump(rest + 1))
        }
        if let last = alternatives.last { append(last) }
    }

    /// The numbers of instructions of this, repeated.
    func size(_ repetition: Repetition) -> Int {
        let (low, high) = (repetition.low, repetition.high)
        guard let high else { return low == 0 ? code.count + 2 : low * code.count + 1 }
        return high * code.count + (high - low)
    }

    func repeated(_ repetition: Repetition) -> Fragment {
        let (low, high) = (repetition.low, repetition.high)
        // What does not come at all does not count, whatever is in it.
        var result = Fragment(repeats: high == 0 ? 1 : max(low, high ?? 1) * repeats)
        for _ in 0..<low { result.code += code }
        guard let high else {
            if low == 0 {
                result.code += [.split(code.count + 2)] + code + [.jump(-code.count - 1)]
            } else {
                result.code.append(.split(-code.count))
            }
            return result
        }
        // Without one of them the others are not tried either.
        for left in stride(from: high - low, to: 0, by: -1) {
            result.code.append(.split(left * (code.count + 1)))
            result.code += code
        }
        return result
    }
}

/// How often something comes, one after the other.
struct Repetition {
    /// More is refused, and so are counts inside of others that come to more (RE2).
    static let limit = 1000

    let low: Int
    /// Nil if there is no end to it.
    let high: Int?

    /// As counts go that were written.
    var most: Int { high ?? low }
}
