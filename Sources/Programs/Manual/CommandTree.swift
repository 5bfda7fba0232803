package import ArgumentParser
internal import FoundationEssentials

/// A command as the argument parser describes it, for manual pages and completions.
package struct CommandTree: Decodable {
    /// With those that it is a subcommand of: `unpack snapshot prepare`.
    package private(set) var words: [String]
    package let abstract: String
    package let discussion: String
    package private(set) var arguments: [Argument]
    package private(set) var subcommands: [CommandTree]
    private let isShown: Bool

    package struct Argument: Decodable {
        package enum Kind: String, Decodable { case positional, option, flag }

        package let kind: Kind
        /// With their hyphens, the longest last.
        package let names: [String]
        package let valueName: String
        package let abstract: String
        package let isOptional: Bool
        package let isRepeating: Bool
        package let defaultValue: String?
        package let completion: Completion
        fileprivate let isShown: Bool
    }

    /// What may stand for an argument.
    package enum Completion {
        case anything
        case list([String])
        case file
        case directory
    }

    /// A program as its users see it.
    ///
    /// - Parameter mainJob: the command that has no name of its own for them; what it takes, the program takes.
    package init(of root: any ParsableCommand.Type, mainJob: String? = nil) throws {
        struct Dump: Decodable {
            let command: CommandTree
        }
        var tree = try JSONDecoder().decode(Dump.self, from: Data(root._dumpHelp().utf8)).command
        if let main = tree.subcommands.first(where: { $0.words.last == mainJob }) {
            tree = CommandTree(main, words: tree.words, subcommands: tree.subcommands)
        }
        self = tree.shown(below: [])
    }

    private init(_ main: CommandTree, words: [String], subcommands: [CommandTree]) {
        self.words = words
        self.subcommands = subcommands
        abstract = main.abstract
        discussion = main.discussion
        arguments = main.arguments
        isShown = true
    }

    /// Without what is hidden; the parser's own `help` is one of its flags, too.
    private func shown(below parent: [String]) -> CommandTree {
        var copy = self
        copy.words = parent + words
        copy.arguments = arguments.filter(\.isShown)
        copy.subcommands = subcommands.filter { $0.isShown && $0.words != ["help"] }
            .map { $0.shown(below: copy.words) }
        return copy
    }

    // MARK: As JSON

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
        case allValueStrings, allValues, shouldDisplay
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
