internal import Programs
internal import Unpacking

/// The manual page of a command, in the macros of man(7), made from what `--help` says.
struct ManualPage {
    /// `unpack-mount.1`.
    let fileName: String
    let text: String

    /// The pages of a command and of all below it.
    static func all(of command: CommandTree) -> [ManualPage] {
        [ManualPage(command)] + command.subcommands.flatMap(all)
    }

    private init(_ command: CommandTree) {
        let name = command.words.joined(separator: "-")
        fileName = "\(name).1"
        var roff = Roff(name, section: 1)
        roff.section("NAME", "\(name) - \(command.abstract.uncapitalised)")
        roff.synopsis(of: command)
        roff.section("DESCRIPTION")
        roff.prose(command.discussion.isEmpty ? command.abstract : command.discussion)
        roff.arguments(of: command)
        if !command.subcommands.isEmpty {
            roff.section("COMMANDS")
            for subcommand in command.subcommands {
                roff.item("\(subcommand.words.joined(separator: "-"))(1)", subcommand.abstract)
            }
        }
        roff.section("EXIT STATUS")
        for (status, meaning) in ManualTexts.exitStatuses(of: command.words) { roff.item(status, meaning) }
        roff.environment(of: command)
        roff.section("FILES")
        for (file, meaning) in ManualTexts.files { roff.item(file, meaning) }
        roff.section("EXAMPLES")
        for (line, meaning) in ManualTexts.examples(of: command.words) { roff.example(line, meaning) }
        roff.section("SEE ALSO", ManualTexts.seeAlso(command))
        text = roff.text
    }

    /// unpack.toml(5).
    static var configuration: ManualPage {
        var roff = Roff("unpack.toml", section: 5)
        roff.section("NAME", "unpack.toml - the settings of unpack(1)")
        roff.section("SYNOPSIS", "\(ConfigurationFile.defaultPath)")
        roff.section("DESCRIPTION")
        roff.prose(ManualTexts.configuration)
        roff.section("SETTINGS")
        for setting in Settings.all {
            let kind = setting.isNumber ? "an integer" : "a string"
            roff.item(
                setting.key,
                "As --\(setting.key); \(kind): \(setting.expected). Default: \(setting.defaultInWords).")
        }
        roff.section("ENVIRONMENT")
        roff.item("\(ConfigurationFile.variable)", ManualTexts.configurationVariable)
        roff.section("EXAMPLES")
        roff.prose("  root = \"/srv/unpack\"\n  jobs = 2\n  max-bytes = 20000000000\n  progress = \"plain\"")
        roff.section("SEE ALSO", "unpack(1), unpack-config(1)")
        return ManualPage(fileName: "unpack.toml.5", text: roff.text)
    }

    private init(fileName: String, text: String) {
        self.fileName = fileName
        self.text = text
    }
}

extension Roff {
    fileprivate mutating func synopsis(of command: CommandTree) {
        section("SYNOPSIS")
        let words = command.words.joined(separator: " ")
        let positionals = command.arguments.filter { $0.kind == .positional }.map { argument in
            let name = argument.placeholder + (argument.isRepeating ? "..." : "")
            return argument.isOptional ? "[\(name)]" : name
        }
        if command.words.count == 1 || command.subcommands.isEmpty {
            usage(words, (positionals + ["[OPTIONS]"]).joined(separator: " "))
        }
        if !command.subcommands.isEmpty { usage(words, "COMMAND ...") }
    }

    fileprivate mutating func arguments(of command: CommandTree) {
        let positionals = command.arguments.filter { $0.kind == .positional }
        if !positionals.isEmpty {
            section("ARGUMENTS")
            for argument in positionals { item(argument.placeholder, argument.abstract) }
        }
        section("OPTIONS")
        for argument in command.arguments where argument.kind != .positional {
            let value = argument.kind == .option ? " " + argument.placeholder : ""
            let otherwise = argument.defaultValue.map { " Default: \($0)." } ?? ""
            item(argument.names.joined(separator: ", ") + value, argument.abstract + otherwise)
        }
    }

    fileprivate mutating func environment(of command: CommandTree) {
        section("ENVIRONMENT")
        let names = Set(command.arguments.flatMap(\.names))
        for setting in Settings.all where names.contains("--" + setting.key) {
            item(setting.variable, "As --\(setting.key), which goes before it.")
        }
        item(ConfigurationFile.variable, ManualTexts.configurationVariable)
        if names.contains("--" + Settings.progress.key) {
            item("NO_COLOR, CI", "With either of them there are lines and no bars, on a terminal, too.")
        }
        if names.contains("--" + Settings.root.key) {
            item("XDG_DATA_HOME, HOME", "Where those who are not root have their store.")
        }
    }
}

extension CommandTree.Argument {
    /// A word for a value is in capitals; values that are listed, or a pattern of them, are as they are.
    fileprivate var placeholder: String {
        valueName.allSatisfy { $0.isLetter || $0 == "-" } ? valueName.uppercased() : valueName
    }
}

extension String {
    /// As the line of NAME wants it.
    fileprivate var uncapitalised: String {
        let text = hasSuffix(".") ? dropLast() : self[...]
        return text.prefix(1).lowercased() + text.dropFirst()
    }
}
