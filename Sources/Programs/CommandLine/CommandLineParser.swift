package import ArgumentParser
internal import Kernel
package import Unpacking

/// Parses the command line of a program. It answers requests for help, and reports the first word that is wrong.
package struct CommandLineParser {
    private let root: any ParsableCommand.Type
    private let tree: CommandTree.Source
    private let texts: any ManualTexts
    private let groups: [HelpPage.Group]
    private let explain: (CommandWords) -> UnpackError?

    /// - Parameters:
    ///   - tree: of the program. It is made only for help and for errors.
    ///   - groups: of the program's commands.
    ///   - explain: as that of `CommandLineDiagnosis`.
    package init(
        _ root: any ParsableCommand.Type, tree: @escaping CommandTree.Source, texts: any ManualTexts,
        groups: [HelpPage.Group] = [], explain: @escaping (CommandWords) -> UnpackError? = { _ in nil }
    ) {
        self.root = root
        self.tree = tree
        self.texts = texts
        self.groups = groups
        self.explain = explain
    }

    /// Returns the command.
    ///
    /// - Returns: nil if help was requested, and is printed.
    /// - Throws: `.usage`; a request for the version as the argument parser throws it.
    package func parse(_ arguments: [String]) throws -> (any ParsableCommand)? {
        if let help = try help(arguments) {
            try printResult(help)
            return nil
        }
        var failure: any Error
        do {
            let command = try root.parseAsRoot(arguments)
            // A command that only groups others does nothing itself.
            if type(of: command).configuration.subcommands.isEmpty { return command }
            failure = CleanExit.helpRequest(command)
        } catch {
            failure = error
            if root.exitCode(for: error).isSuccess, !arguments.isEmpty { throw error }
        }
        let diagnosis = CommandLineDiagnosis(arguments, in: try tree(), explain: explain)
        if let error = diagnosis.error { throw error }
        let message = root.message(for: failure).split(separator: "\n").first ?? "the command line is invalid"
        throw UnpackError(.usage, String(message), hint: "'\(Program.name) --help' describes it")
    }

    /// The help that the arguments request with a flag, or as `help COMMAND`; nil if they request none.
    private func help(_ arguments: [String]) throws -> String? {
        let isCommand = arguments.first == "help" && root.configuration.subcommands.isEmpty == false
        guard isCommand || !HelpPage.flags.isDisjoint(with: arguments) else { return nil }
        let words = CommandWords(isCommand ? Array(arguments.dropFirst()) : arguments, in: try tree())
        if isCommand, let word = words.positionals.first {
            let names = words.command.subcommands.compactMap(\.words.last)
            let meant = SimilarWord.closest(to: word, among: names).map { "did you mean '\($0)'?" }
            throw UnpackError(
                .usage,
                "'\(words.command.words.joined(separator: " "))' has no command '\(escaped(word.utf8))'",
                hint: meant ?? "'\(words.command.words[0]) --help' lists the commands")
        }
        guard isCommand || words.requestsHelp else { return nil }
        let isProgram = words.command.words.count == 1
        return HelpPage(words.command, texts, groups: isProgram ? groups : []).text(
            columns: Console.outputWidth ?? 80)
    }
}
