/// A regular expression of RE2 with Go's syntax (https://pkg.go.dev/regexp/syntax). It can only report whether it
/// matches anywhere in a text.
///
/// The matcher does not backtrack: it follows all possible matches in parallel, scalar by scalar (Thompson 1968; Cox,
/// "Regular Expression Matching: the Virtual Machine Approach"). The time is bounded by the length of the text times
/// the length of the program, also for hostile input. Of Unicode's groups it supports the general categories, not the
/// scripts.
package struct RegularExpression: Sendable {
    /// The maximum number of instructions of a program, repetitions included. RE2 limits bytes instead.
    static let maximumSize = 4096

    enum Instruction {
        /// Matches this code point.
        case scalar(UInt32)
        /// Matches a code point that differs only in case from this one, a `CaseFolding.key`.
        case anyCase(UInt32)
        /// Matches a code point of the class with this index in `classes`.
        case member(Int)
        case assertion(Assertion)
        /// Continues at the next instruction and at the one with this distance.
        case split(Int)
        case jump(Int)
    }

    /// A condition between two code points.
    enum Assertion {
        case textStart, textEnd, lineStart, lineEnd, wordBoundary, noWordBoundary
    }

    /// The end of the program is the match.
    private let program: [Instruction]
    private let classes: [ScalarClass]
    /// Whether any part of it ignores case.
    private let ignoresCase: Bool
    private let hasCategories: Bool

    /// - Returns: nil for an expression that RE2 refuses or that is too large.
    package init?(_ expression: String) {
        var parser = Parser(expression)
        guard let program = try? parser.parse() else { return nil }
        self.program = program
        classes = parser.classes
        ignoresCase = parser.ignoresCase
        hasCategories = parser.classes.contains(where: \.hasCategories)
    }

    /// Whether the expression matches anywhere in a text.
    ///
    /// - Parameter budget: one step is spent for each visited instruction, at most two for each instruction and
    ///   position in the text, and some for the search itself.
    package func isFound(
        in text: String, _ budget: inout StepBudget
    ) throws(StepBudget.Exhausted) -> Bool {
        // For the memory of the visits.
        try budget.spend(1 + program.count / 16)
        var scalars = text.unicodeScalars.lazy.map(\.value).makeIterator()
        var threads = Threads(program)
        var waiting = [Int]()
        var before: UInt32?
        var next = scalars.next()
        while true {
            // A match may begin at any position.
            if threads.add(0, between: before, next, to: &waiting) { return true }
            guard let scalar = next else { return false }
            next = scalars.next()
            threads.place += 1
            try budget.spend(threads.takeSteps() + waiting.count + cost(of: scalar))
            let folded = FoldedScalar(scalar, ignoresCase: ignoresCase, hasCategories: hasCategories)
            let places = waiting.filter { takes(folded, at: $0) }
            waiting.removeAll(keepingCapacity: true)
            for place in places where threads.add(place + 1, between: scalar, next, to: &waiting) {
                return true
            }
            before = scalar
        }
    }

    /// Steps for each scalar of a text: the lookup of its properties takes as long as 40 steps.
    private func cost(of scalar: UInt32) -> Int {
        hasCategories || ignoresCase && scalar >= 0x80 ? 40 : 2
    }

    private func takes(_ scalar: FoldedScalar, at place: Int) -> Bool {
        switch program[place] {
        case .scalar(let wanted): scalar.value == wanted
        case .anyCase(let key): scalar.key == key
        case .member(let index): classes[index].contains(scalar)
        case .assertion, .split, .jump: false
        }
    }
}

/// The set of instructions that possible matches have reached.
private struct Threads {
    private let program: [RegularExpression.Instruction]
    /// The position in the text.
    var place = 0
    /// The number of instructions visited since the last `takeSteps()`.
    private var steps = 0
    /// For each instruction and the end, the last position in the text at which a possible match has reached it. A
    /// second one at the same position would continue as the first.
    private var visits: [Int]
    private var open = [Int]()

    init(_ program: [RegularExpression.Instruction]) {
        self.program = program
        visits = Array(repeating: -1, count: program.count + 1)
    }

    mutating func takeSteps() -> Int {
        defer { steps = 0 }
        return steps
    }

    /// Follows all instructions that match no scalar.
    ///
    /// - Parameters:
    ///   - before: the scalar before this position in the text; nil at its start.
    ///   - after: nil at its end.
    ///   - waiting: receives the instructions that match a scalar.
    /// - Returns: whether the end of the program is reached.
    mutating func add(
        _ start: Int, between before: UInt32?, _ after: UInt32?, to waiting: inout [Int]
    ) -> Bool {
        open.append(start)
        while let index = open.popLast() {
            if visits[index] == place { continue }
            visits[index] = place
            steps += 1
            if index == program.count { return true }
            switch program[index] {
            case .scalar, .anyCase, .member: waiting.append(index)
            case .jump(let distance): open.append(index + distance)
            case .split(let distance): open += [index + distance, index + 1]
            case .assertion(let assertion):
                if assertion.holds(between: before, after) { open.append(index + 1) }
            }
        }
        return false
    }
}

extension RegularExpression.Assertion {
    fileprivate func holds(between before: UInt32?, _ after: UInt32?) -> Bool {
        switch self {
        case .textStart: before == nil
        case .textEnd: after == nil
        case .lineStart: before == nil || before == 0x0A
        case .lineEnd: after == nil || after == 0x0A
        case .wordBoundary: Self.isWord(before) != Self.isWord(after)
        case .noWordBoundary: Self.isWord(before) == Self.isWord(after)
        }
    }

    /// Words are ASCII words.
    private static func isWord(_ scalar: UInt32?) -> Bool {
        guard let scalar else { return false }
        return ASCIIGroups.word.contains { $0.contains(scalar) }
    }
}
