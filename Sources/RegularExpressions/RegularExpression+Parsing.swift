extension RegularExpression {
    /// Parses an expression and compiles it at the same time: a parsed group is a fragment.
    struct Parser {
        /// The caller needs no reason.
        struct Malformed: Error {}

        /// The maximum depth of groups, as in Go.
        private static let deepest = 1000

        private struct Flags {
            var ignoresCase = false
            var isMultiline = false
            var dotTakesNewlines = false
        }

        /// An open group; the outermost one is the whole expression.
        private struct Group {
            /// The flags that are restored after it.
            let flags: Flags
            var alternatives = [Fragment]()
            /// The alternative that is being parsed, without its last part, which a repetition may follow.
            var parts = Fragment()
            var last: Fragment?
        }

        private(set) var classes = [ScalarClass]()
        private(set) var ignoresCase = false

        private var input: Scanner
        private var flags = Flags()
        private var groups = [Group(flags: Flags())]
        /// The number of instructions of all groups.
        private var size = 0

        init(_ expression: String) { input = Scanner(expression) }

        mutating func parse() throws(Malformed) -> [Instruction] {
            var wasRepetition = false
            while let scalar = input.take() {
                var isRepetition = false
                switch scalar {
                case "(": try open()
                case ")": try close()
                case "|":
                    try grow(2)
                    endAlternative()
                case "[": try add(try input.characterClass(flags.ignoresCase))
                case ".":
                    var any = ScalarClass()
                    if !flags.dotTakesNewlines { any.insert(0x0A...0x0A) }
                    any.finish(isNegated: true)
                    try add(any)
                case "^": try add(.assertion(flags.isMultiline ? .lineStart : .textStart))
                case "$": try add(.assertion(flags.isMultiline ? .lineEnd : .textEnd))
                case "\\": try escape()
                case "*", "+", "?", "{":
                    if let repetition = try input.repetition(scalar) {
                        // Greedy or not makes no difference to whether the expression matches.
                        _ = input.take("?")
                        // Two repetitions in a row have another meaning in Perl.
                        if wasRepetition { throw Malformed() }
                        try repeatLast(repetition)
                        isRepetition = true
                    } else {
                        try literal(scalar.value)
                    }
                default: try literal(scalar.value)
                }
                wasRepetition = isRepetition
            }
            guard groups.count == 1 else { throw Malformed() }
            return try finish().code
        }

        // MARK: Parts

        private mutating func grow(_ instructions: Int) throws(Malformed) {
            size += instructions
            if size > RegularExpression.maximumSize { throw Malformed() }
        }

        private mutating func push(_ fragment: Fragment) {
            let index = groups.count - 1
            if let last = groups[index].last { groups[index].parts.append(last) }
            groups[index].last = fragment
        }

        private mutating func add(_ instruction: Instruction) throws(Malformed) {
            try grow(1)
            push(Fragment([instruction]))
        }

        private mutating func add(_ scalars: ScalarClass) throws(Malformed) {
            ignoresCase = ignoresCase || flags.ignoresCase
            classes.append(scalars)
            try add(.member(classes.count - 1))
        }

        private mutating func literal(_ scalar: UInt32) throws(Malformed) {
            ignoresCase = ignoresCase || flags.ignoresCase
            try add(flags.ignoresCase ? .anyCase(CaseFolding.key(scalar)) : .scalar(scalar))
        }

        private mutating func escape() throws(Malformed) {
            switch input.next {
            case "A": try addAssertion(.textStart)
            case "z": try addAssertion(.textEnd)
            case "b": try addAssertion(.wordBoundary)
            case "B": try addAssertion(.noWordBoundary)
            case "Q":
                _ = input.take()
                for scalar in input.takeQuoted() { try literal(scalar.value) }
            default:
                var scalars = ScalarClass(ignoresCase: flags.ignoresCase)
                if try input.group(into: &scalars) {
                    scalars.finish(isNegated: false)
                    try add(scalars)
                } else {
                    try literal(try input.escapedScalar())
                }
            }
        }

        private mutating func addAssertion(_ assertion: Assertion) throws(Malformed) {
            _ = input.take()
            try add(.assertion(assertion))
        }

        private mutating func repeatLast(_ repetition: Repetition) throws(Malformed) {
            guard let last = groups[groups.count - 1].last else { throw Malformed() }
            let isCounted = repetition.low > 1 || repetition.high ?? 0 > 1
            if isCounted, last.repeats * repetition.most > Repetition.limit { throw Malformed() }
            try grow(last.size(repetition) - last.code.count)
            groups[groups.count - 1].last = last.repeated(repetition)
        }

        // MARK: Groups

        private mutating func open() throws(Malformed) {
            if groups.count > Self.deepest { throw Malformed() }
            let outer = flags
            if input.take("?") {
                let isNamed = input.take("P<") || input.take("<")
                if isNamed {
                    try input.groupName()
                } else if !(try readFlags()) {
                    return
                }
            }
            groups.append(Group(flags: outer))
        }

        /// - Returns: whether a group begins after them.
        private mutating func readFlags() throws(Malformed) -> Bool {
            var (changed, isSet, isExpected) = (flags, true, false)
            while let scalar = input.take() {
                switch scalar {
                case "i": changed.ignoresCase = isSet
                case "m": changed.isMultiline = isSet
                case "s": changed.dotTakesNewlines = isSet
                case "U": break
                case "-":
                    if !isSet { throw Malformed() }
                    (isSet, isExpected) = (false, true)
                    continue
                case ":", ")":
                    if isExpected { throw Malformed() }
                    flags = changed
                    return scalar == ":"
                default: throw Malformed()
                }
                isExpected = false
            }
            throw Malformed()
        }

        private mutating func close() throws(Malformed) {
            guard groups.count > 1 else { throw Malformed() }
            let fragment = try finish()
            flags = groups.removeLast().flags
            push(fragment)
        }

        private mutating func endAlternative() {
            let index = groups.count - 1
            if let last = groups[index].last { groups[index].parts.append(last) }
            groups[index].last = nil
            groups[index].alternatives.append(groups[index].parts)
            groups[index].parts = Fragment()
        }

        /// The fragment of the innermost group.
        private mutating func finish() throws(Malformed) -> Fragment {
            endAlternative()
            return Fragment(anyOf: groups[groups.count - 1].alternatives)
        }
    }
}
