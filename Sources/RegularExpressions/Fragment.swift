/// A part of a program. Its jumps are relative, so it can be moved.
struct Fragment {
    typealias Instruction = RegularExpression.Instruction

    private(set) var code: [Instruction]
    /// The maximum number of repetitions of its innermost part: the product of nested counts.
    private(set) var repeats: Int

    init(_ code: [Instruction] = [], repeats: Int = 1) {
        self.code = code
        self.repeats = repeats
    }

    mutating func append(_ other: Fragment) {
        code += other.code
        repeats = max(repeats, other.repeats)
    }

    /// An alternation.
    init(anyOf alternatives: [Fragment]) {
        self.init()
        // Each alternative but the last has a split before it and a jump to the end after it.
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

    /// The number of instructions of this fragment, repeated.
    func size(_ repetition: Repetition) -> Int {
        let (low, high) = (repetition.low, repetition.high)
        guard let high else { return low == 0 ? code.count + 2 : low * code.count + 1 }
        return high * code.count + (high - low)
    }

    func repeated(_ repetition: Repetition) -> Fragment {
        let (low, high) = (repetition.low, repetition.high)
        // A part that is repeated zero times does not count.
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
        // Without one repetition the following ones are not tried.
        for left in stride(from: high - low, to: 0, by: -1) {
            result.code.append(.split(left * (code.count + 1)))
            result.code += code
        }
        return result
    }
}

/// The number of repetitions.
struct Repetition {
    /// The maximum count, and the maximum product of nested counts (RE2).
    static let limit = 1000

    let low: Int
    /// Nil if it is not limited.
    let high: Int?

    /// The count as RE2 counts it.
    var most: Int { high ?? low }
}
