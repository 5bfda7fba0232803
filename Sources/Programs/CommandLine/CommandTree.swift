package import ArgumentParser
internal import FoundationEssentials

/// A command with its arguments and subcommands, as the argument parser describes it. Manual pages and completions are
/// generated from it.
package struct CommandTree: Decodable {
    /// The full name of the command: `unpack snapshot prepare`.
    package private(set) var words: [String]
    package let abstract: String
    package let discussion: String
    package private(set) var arguments: [Argument]
    package private(set) var subcommands: [CommandTree]
    private let isShown: Bool

    package struct Argument: Decodable {
        package enum Kind: String, Decodable { case positional, option, flag }

        package let kind: Kind
        /// With hyphens, the longest last.
        package let names: [String]
        package let valueName: String
        package let abstract: String
        package let isOptional: Bool
        package let isRepeating: Bool
        package let defaultValue: String?
        package let completion: Completion
        /// The heading under which `--help` lists it; nil for the general one.
        package let section: String?
        /// Whether it takes all words that follow, options included.
        fileprivate let takesAll: Bool
        fileprivate let isShown: Bool
    }

    /// The values that a shell offers for an argument.
    package enum Completion {
        case anything
        case list([String])
        case file
        case directory
    }

    /// Makes the tree of a program.
    package typealias Source = () throws -> CommandTree

    /// Creates the tree of a program's visible commands.
    ///
    /// - Parameter defaultSubcommand: the default subcommand. Its arguments become those of the program.
    package init(of root: any ParsableCommand.Type, defaultSubcommand: String? = nil) throws {
        struct Dump: Decodable {
            let command: CommandTree
        }
        var tree = try JSONDecoder().decode(Dump.self, from: Data(root._dumpHelp().utf8)).command
        if let main = tree.subcommands.first(where: { $0.words.last == defaultSubcommand }) {
            tree = CommandTree(main, words: tree.words, subcommands: tree.subcommands)
        }
        self = tree.visible(below: [])
    }

    private init(_ main: CommandTree, words: [String], subcommands: [CommandTree]) {
        self.words = words
        self.subcommands = subcommands
        abstract = main.abstract
        discussion = main.discussion
        arguments = main.arguments
        isShown = true
    }

    /// Removes hidden commands and arguments, and the parser's `help` command, which duplicates a flag.
    private func visible(below parent: [String]) -> CommandTree {
        var copy = self
        copy.words = parent + words
        copy.arguments = arguments.filter(\.isShown)
        copy.subcommands = subcommands.filter { $0.isShown && $0.words != ["help"] }
            .map { $0.visible(below: copy.words) }
        return copy
    }

    // MARK: Decoding

    private enum Keys: String, CodingKey {
        case commandName, abstract, discussion, arguments, subcommands, shouldDisplay
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Keys.self)
        words = [try values.decode(String.self, forKey: .commandName)]
        abstract = try values.decodeIfPresent(String.self, forKey: .abstract) ?? ""
        discussion = try values.decodeIfPresent(String.self, forKey: .discussion) ?? ""
        arguments = try values.decodeIfPresent([Argument].self, forKey: .arguments) ?? []
        subcommands = try values.decodeIfPresent([CommandTree].self, forKey: .subcommands) ?? []
        isShown = try values.decodeIfPresent(Bool.self, forKey: .shouldDisplay) ?? true
    }
}

extension CommandTree.Argument {
    private enum Keys: String, CodingKey {
        case kind, names, valueName, abstract, isOptional, isRepeating, defaultValue, completionKind
        case allValueStrings, allValues, shouldDisplay, sectionTitle, parsingStrategy
    }

    private struct Name: Decodable {
        let kind: String
        let name: String
    }

    private struct List: Decodable {
        let values: [String]
    }

    private enum CompletionKeys: String, CodingKey { case list, file, directory }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Keys.self)
        kind = try values.decode(Kind.self, forKey: .kind)
        names = (try values.decodeIfPresent([Name].self, forKey: .names) ?? []).map {
            ($0.kind == "long" ? "--" : "-") + $0.name
        }.sorted { $0.utf8.count < $1.utf8.count }
        valueName = try values.decodeIfPresent(String.self, forKey: .valueName) ?? ""
        abstract = try values.decodeIfPresent(String.self, forKey: .abstract) ?? ""
        isOptional = try values.decode(Bool.self, forKey: .isOptional)
        isRepeating = try values.decode(Bool.self, forKey: .isRepeating)
        defaultValue = try values.decodeIfPresent(String.self, forKey: .defaultValue)
        takesAll = try values.decode(String.self, forKey: .parsingStrategy) == "allRemainingInput"
        section = try values.decodeIfPresent(String.self, forKey: .sectionTitle)
        isShown = try values.decodeIfPresent(Bool.self, forKey: .shouldDisplay) ?? true
        let choices = try values.decodeIfPresent([String].self, forKey: .allValues)
        let kinds = try? values.nestedContainer(keyedBy: CompletionKeys.self, forKey: .completionKind)
        if let list = try kinds?.decodeIfPresent(List.self, forKey: .list) {
            completion = .list(list.values)
        } else if kinds?.contains(.directory) == true {
            completion = .directory
        } else if kinds?.contains(.file) == true {
            completion = .file
        } else {
            completion = choices.map { .list($0) } ?? .anything
        }
    }
}

extension CommandTree {
    package func subcommand(named name: String) -> CommandTree? {
        subcommands.first { $0.words.last == name }
    }

    /// The option or flag with a name, which includes the hyphens.
    package func option(named name: String) -> Argument? {
        arguments.first { $0.kind != .positional && $0.names.contains(name) }
    }

    /// Whether its arguments are the command line of another program.
    package var takesCommandLine: Bool { arguments.contains(where: \.takesAll) }

    /// The positional arguments in order.
    package var positionals: [Argument] { arguments.filter { $0.kind == .positional } }

    /// What follows the command's name: `WHAT DIR [OPTIONS]`.
    var operands: String {
        let names = positionals.map { argument in
            let name = argument.placeholder + (argument.isRepeating ? "..." : "")
            return argument.isOptional ? "[\(name)]" : name
        }
        return (names + ["[OPTIONS]"]).joined(separator: " ")
    }

    /// One line: `unpack mount WHAT DIR [OPTIONS]`.
    var synopsis: String { words.joined(separator: " ") + " " + operands }
}

extension CommandTree.Argument {
    /// A name of a value is in capitals; a list or a pattern of values is printed as it is.
    var placeholder: String {
        valueName.allSatisfy { $0.isLetter || $0 == "-" } ? valueName.uppercased() : valueName
    }
}
