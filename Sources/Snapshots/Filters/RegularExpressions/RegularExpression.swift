/// A regular expression of RE2's, as Go has them (https://pkg.go.dev/regexp/syntax), which answers one question: whether it is
/// found anywhere in a text.
///
/// It never goes back in the text: all ways to match go through it at once, a scalar at a time (Thompson 1968; Cox, "Regular
/// Expression Matching: the Virtual Machine Approach"). So the time is bounded by the length of the text times that of the
/// program, whoever has made the two up. Of Unicode's groups there are the general categories, and no scripts.
package struct RegularExpression: Sendable {
    /// Instructions that a program may have, which repetitions multiply; where RE2 counts bytes.
    static let maximumSize = 4096

    enum Instruction {
        /// Takes this code point.
        case scalar(UInt32)
        /// Takes a code point that differs from this one, a `CaseFolding.key`, in case only.
        case anyCase(UInt32)
        /// Takes a code point of this one of `classes`.
        case member(Int)
        case assertion(Assertion)
        /// Goes on at the next instruction, and at the one so far from here.
        case split(Int)
        case jump(Int)
    }

    /// What holds between two code points, and takes none.
    enum Assertion {
        case textStart, textEnd, lineStart, lineEnd, wordBoundary, noWordBoundary
    }

    /// Its end is the match.
    private let program: [Instruction]
    private let classes: [ScalarClass]
    /// Whether any part of it does.
    private let ignoresCase: Bool
    private let hasCategories: Bool

    /// Nil if RE2 would refuse it, or if it is too large.
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
    /// - Parameter budget: pays a step for each instruction that is visited, which are at most two for each instruction and place
    ///   in the text, and what the search costs besides.
    /// - Throws: `.resourceExhausted` if the budget is spent before the answer is known.
    package func isFound(in text: String, _ budget: inout FilterBudget) throws(StoreFailure) -> Bool {
        // Memory for the visits.
        try budget.spend(1 + program.count / 16)
        var scalars = text.unicodeScalars.lazy.map(\.value).makeIterator()
        var threads = Threads(program)
        var waiting = [Int]()
        var before: UInt32?
        var next = scalars.next()
        while true {
            // What is found may begin anywhere.
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

    /// Steps for a scalar of a text, whatever the program: looking its properties up takes as long as 40.
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

/// Where in a program the ways to match are.
private struct Threads {
    private let program: [RegularExpression.Instruction]
    /// In the text.
    var place = 0
    /// Instructions visited since they were taken last.
    private var steps = 0
    /// For each instruction and the end, the place in the text at which a way has last come to it: a second one would go on as
    /// the first.
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

    /// Follows all that takes no scalar.
    ///
    /// - Parameters:
    ///   - before: the scalar before this place in the text; nil at its start.
    ///   - after: nil at its end.
    ///   - waiting: gets the instructions that take a scalar.
    /// - Returns: whether the program's end is reached.
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

    /// Words are ASCII's.
    private static func isWord(_ scalar: UInt32?) -> Bool {
        guard let scalar else { return false }
        return ASCIIGroups.word.contains { $0.contains(scalar) }
    }
}
