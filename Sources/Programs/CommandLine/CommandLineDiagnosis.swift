internal import Kernel
package import Unpacking

/// Explains why a command line does not parse. It names the first word that is wrong; the argument parser names a missing
/// argument before an unknown option.
package struct CommandLineDiagnosis {
    private let words: CommandWords
    private let explain: (CommandWords) -> UnpackError?

    /// - Parameters:
    ///   - arguments: without the program's name.
    ///   - tree: of the program.
    ///   - explain: what is wrong by the program's own rules, which come first; nil if they are not violated.
    package init(
        _ arguments: [String], in tree: CommandTree,
        explain: @escaping (CommandWords) -> UnpackError? = { _ in nil }
    ) {
        words = CommandWords(arguments, in: tree)
        self.explain = explain
    }

    /// What is wrong; nil if no rule of this type is violated.
    package var error: UnpackError? {
        explain(words) ?? wrongCommand ?? unknownOption ?? missingValue ?? wrongValue ?? unexpectedArgument
            ?? missingArgument
    }

    private var command: CommandTree { words.command }
    private var name: String { command.words.joined(separator: " ") }

    private var wrongCommand: UnpackError? {
        let isProgram = command.words.count == 1
        if isProgram || command.subcommands.isEmpty { return nil }
        let list = command.subcommands.map { "\($0.words.joined(separator: " "))  \($0.abstract)" }
        guard let word = words.positionals.first else {
            return UnpackError(.usage, "'\(name)' needs a command:", list: list)
        }
        let names = command.subcommands.compactMap(\.words.last)
        if let meant = SimilarWord.closest(to: word, among: names) {
            return UnpackError(
                .usage, "'\(name)' has no command '\(escaped(word.utf8))'",
                hint: "did you mean '\(name) \(meant)'?")
        }
        return UnpackError(.usage, "'\(name)' has no command '\(escaped(word.utf8))'; it has:", list: list)
    }

    private var unknownOption: UnpackError? {
        guard let typed = words.unknownOptions.first else { return nil }
        let word = typed.firstIndex(of: "=").map { String(typed[..<$0]) } ?? typed
        if word != typed, command.option(named: word) != nil {
            return UnpackError(.usage, "\(word) takes no value")
        }
        let options = command.arguments.filter { $0.kind != .positional }.flatMap(\.names)
        // '-format' is meant as '--format'.
        let isLong = word.hasPrefix("--") || word.utf8.count < 3
        let meant =
            isLong
            ? SimilarWord.closest(to: word, among: options.filter { $0.utf8.count > 2 })
            : options.first { $0 == "-" + word }
        return UnpackError(
            .usage, "'\(name)' has no option '\(escaped(word.utf8))'",
            hint: meant.map { "did you mean '\($0)'?" } ?? help)
    }

    private var missingValue: UnpackError? {
        guard let (option, name) = words.optionsWithoutValue.first ?? words.pending else { return nil }
        return UnpackError(.usage, "\(name) needs a value: \(name) \(option.placeholder)", hint: help)
    }

    private var wrongValue: UnpackError? {
        for (option, name, value) in words.values {
            guard case .list(let values) = option.completion, !values.contains(value) else { continue }
            return UnpackError(
                .usage, "\(name) is one of \(values.joined(separator: ", ")), not '\(escaped(value.utf8))'",
                hint: SimilarWord.closest(to: value, among: values).map { "did you mean '\(name) \($0)'?" })
        }
        return nil
    }

    private var unexpectedArgument: UnpackError? {
        let places = command.positionals
        guard words.positionals.count > places.count, places.last?.isRepeating != true else { return nil }
        let word = escaped(words.positionals[places.count].utf8)
        return UnpackError(
            .usage, "'\(name)' takes no argument '\(word)'", hint: "usage: \(command.synopsis)")
    }

    private var missingArgument: UnpackError? {
        let places = command.positionals
        guard words.positionals.count < places.count else { return nil }
        let missing = places[words.positionals.count...].filter { !$0.isOptional }
        guard let first = missing.first else { return nil }
        return UnpackError(
            .usage, "\(first.placeholder) is missing", hint: "usage: \(command.synopsis); \(help)")
    }

    private var help: String { "'\(name) --help' describes it" }
}
