/// The words of a command line, matched with the commands, options and arguments of a program. No value is checked.
package struct CommandWords {
    /// The command that the words name.
    package private(set) var command: CommandTree
    /// The words that are neither commands nor options nor their values.
    package private(set) var positionals = [String]()
    /// The options that the command does not have, as they were typed.
    package private(set) var unknownOptions = [String]()
    /// The flags, as they were typed.
    package private(set) var flags = [String]()
    /// The values of options, in order.
    package private(set) var values = [(option: CommandTree.Argument, name: String, value: String)]()
    /// The names of options whose value is missing because another option follows.
    package private(set) var optionsWithoutValue = [(option: CommandTree.Argument, name: String)]()
    /// The option at the end, whose value would be the next word.
    package private(set) var pending: (option: CommandTree.Argument, name: String)?
    /// Whether `--` was read, after which no word is an option.
    package private(set) var isAfterTerminator = false

    /// Whether help is requested.
    package var requestsHelp: Bool { !HelpPage.flags.isDisjoint(with: flags) }

    /// - Parameter words: without the program's name.
    package init(_ words: [String], in tree: CommandTree) {
        command = tree
        var rest = words[...]
        // A subcommand follows its command directly: the parser takes it for an argument after an option.
        while let word = rest.first, let next = command.subcommand(named: word) {
            command = next
            rest.removeFirst()
        }
        for word in rest { add(word) }
    }

    private mutating func add(_ word: String) {
        // The words of another program's command line are not this program's options.
        if command.takesCommandLine, !positionals.isEmpty || !HelpPage.flags.contains(word) {
            return positionals.append(word)
        }
        let isOption = word.hasPrefix("-") && word != "-" && !isAfterTerminator
        if let (option, name) = pending {
            pending = nil
            if !isOption { return values.append((option, name, word)) }
            optionsWithoutValue.append((option, name))
        }
        if !isOption { return positionals.append(word) }
        if word == "--" {
            isAfterTerminator = true
        } else if let argument = command.option(named: word) {
            if argument.kind == .option {
                pending = (argument, word)
            } else {
                flags.append(word)
            }
        } else if let end = word.firstIndex(of: "="),
            let argument = command.option(named: String(word[..<end])),
            argument.kind == .option
        {
            values.append((argument, String(word[..<end]), String(word[word.index(after: end)...])))
        } else if !isGroupOfFlags(word) {
            unknownOptions.append(word)
        }
    }

    /// Whether a word is several flags of one letter: `-qv`.
    private func isGroupOfFlags(_ word: String) -> Bool {
        let letters = word.dropFirst()
        guard letters.first != "-" else { return false }
        return letters.allSatisfy { command.option(named: "-\($0)")?.kind == .flag }
    }
}
