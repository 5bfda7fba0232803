extension RegularExpression {
    /// Reads an expression, and writes the program while it does: what a group has become is a fragment.
    struct Parser {
        /// Nobody asks what is wrong.
        struct Malformed: Error {}

        /// As Go has it.
        private static let deepest = 1000

        private struct Flags {
            var ignoresCase = false
            var isMultiline = false
            var dotTakesNewlines = false
        }

        /// A group whose end has not come; the expression as a whole is the outermost.
        private struct Group {
            /// That hold again behind it.
            let flags: Flags
            var alternatives = [Fragment]()
            /// The alternative that is being read, but for its last part, which a repetition may follow.
            var parts = Fragment()
            var last: Fragment?
        }

        private(set) var classes = [ScalarClass]()
        private(set) var ignoresCase = false

        private var input: Scanner
        private var flags = Flags()
        private var groups = [Group(flags: Flags())]
        /// Instructions that all groups have.
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
                        // Whether as many or as few as can be are taken makes no difference here.
                        _ = input.take("?")
                        // Two of them are Perl's for something else.
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

        /// - Returns: whether a group begins behind them.
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

        /// What the innermost group has become.
        private mutating func finish() throws(Malformed) -> Fragment {
            endAlternative()
            return Fragment(anyOf: groups[groups.count - 1].alternatives)
        }
    }
}
