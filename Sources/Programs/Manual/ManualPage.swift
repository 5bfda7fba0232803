internal import Kernel
internal import SystemPackage
internal import Unpacking

/// The manual page of a command, in man(7) macros, made from its help texts.
package struct ManualPage {
    /// The argument with which `make install` calls the program; a directory for the pages follows.
    package static let request = "generate-manual"

    /// E.g. `unpack-mount.1`.
    let fileName: String
    let text: String

    /// Returns the pages of a command and all its subcommands.
    package static func all(of command: CommandTree, _ texts: some ManualTexts) -> [ManualPage] {
        [ManualPage(command, texts)] + command.subcommands.flatMap { all(of: $0, texts) }
    }

    /// - Parameter directory: an existing directory. Pages of the same names are replaced.
    package static func write(_ pages: [ManualPage], into directory: String) throws {
        try attempt {
            let folder = try Directory(opening: FilePath(directory))
            for page in pages {
                try folder.writeAtomically(FileName(literal: page.fileName), mode: 0o644) { file in
                    try Array(page.text.utf8).withRawSpan { try file.write($0) }
                }
            }
        }
    }

    private init(_ command: CommandTree, _ texts: some ManualTexts) {
        let name = command.words.joined(separator: "-")
        fileName = "\(name).\(texts.section)"
        var roff = Roff(name, section: texts.section)
        roff.section("NAME", "\(name) - \(command.abstract.uncapitalized)")
        roff.synopsis(of: command)
        roff.section("DESCRIPTION")
        roff.prose(command.discussion.isEmpty ? command.abstract : command.discussion)
        roff.arguments(of: command)
        if !command.subcommands.isEmpty {
            roff.section("COMMANDS")
            for subcommand in command.subcommands {
                roff.item(
                    "\(subcommand.words.joined(separator: "-"))(\(texts.section))", subcommand.abstract)
            }
        }
        for (title, prose) in texts.chapters(of: command.words) {
            roff.section(title)
            roff.prose(prose)
        }
        roff.section("EXIT STATUS")
        for (status, meaning) in texts.exitStatuses(of: command.words) { roff.item(status, meaning) }
        roff.environment(of: command, texts)
        roff.section("FILES")
        for (file, meaning) in texts.files { roff.item(file, meaning) }
        roff.section("EXAMPLES")
        for (line, meaning) in texts.examples(of: command.words) { roff.example(line, meaning) }
        roff.section("SEE ALSO", texts.seeAlso(command))
        text = roff.text
    }

    package init(fileName: String, text: String) {
        self.fileName = fileName
        self.text = text
    }
}

extension Roff {
    fileprivate mutating func synopsis(of command: CommandTree) {
        section("SYNOPSIS")
        let words = command.words.joined(separator: " ")
        if command.words.count == 1 || command.subcommands.isEmpty { usage(words, command.operands) }
        if !command.subcommands.isEmpty { usage(words, "COMMAND ...") }
    }

    fileprivate mutating func arguments(of command: CommandTree) {
        if !command.positionals.isEmpty {
            section("ARGUMENTS")
            for argument in command.positionals { item(argument.placeholder, argument.abstract) }
        }
        section("OPTIONS")
        for argument in command.arguments where argument.kind != .positional {
            let value = argument.kind == .option ? " " + argument.placeholder : ""
            let otherwise = argument.defaultValue.map { " Default: \($0)." } ?? ""
            item(argument.names.joined(separator: ", ") + value, argument.abstract + otherwise)
        }
    }

    fileprivate mutating func environment(of command: CommandTree, _ texts: some ManualTexts) {
        section("ENVIRONMENT")
        let names = Set(command.arguments.flatMap(\.names))
        for setting in texts.settings where names.contains("--" + setting.key) {
            item(setting.variable, "As --\(setting.key), which takes precedence.")
        }
        item(ConfigurationFile.variable, ConfigurationFile.variableDescription)
        if names.contains("--" + Settings.progress.key) {
            item("NO_COLOR, CI", "If either is set, progress is printed as lines even on a terminal.")
        }
        if names.contains("--" + Settings.root.key) {
            item("XDG_DATA_HOME, HOME", "Where the stores of users other than root are.")
        }
    }
}

extension String {
    /// With a lowercase first letter and without the final period, as the NAME section requires.
    fileprivate var uncapitalized: String {
        let text = hasSuffix(".") ? dropLast() : self[...]
        return text.prefix(1).lowercased() + text.dropFirst()
    }
}
