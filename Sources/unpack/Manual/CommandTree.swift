internal import ArgumentParser
internal import FoundationEssentials

/// A command as the argument parser describes it, for manual pages and completions.
struct CommandTree: Decodable {
    /// With those that it is a subcommand of: `unpack snapshot prepare`.
    private(set) var words: [String]
    let abstract: String
    let discussion: String
    private(set) var arguments: [Argument]
    private(set) var subcommands: [CommandTree]
    private let isShown: Bool

    struct Argument: Decodable {
        enum Kind: String, Decodable { case positional, option, flag }

        let kind: Kind
        /// With their hyphens, the longest last.
        let names: [String]
        let valueName: String
        let abstract: String
        let isOptional: Bool
        let isRepeating: Bool
        let defaultValue: String?
        let completion: Completion
        fileprivate let isShown: Bool
    }

    /// What may stand for an argument.
    enum Completion {
        case anything
        case list([String])
        case file
        case directory
    }

    /// The program as its users see it: the main job, which has no name of its own, and the commands beside it.
    static func whole() throws -> CommandTree {
        struct Dump: Decodable {
            let command: CommandTree
        }
        var root = try JSONDecoder().decode(Dump.self, from: Data(RootCommand._dumpHelp().utf8)).command
        if let main = root.subcommands.first(where: { $0.words.last == UnpackCommand.hiddenName }) {
            root.arguments = main.arguments
            root = CommandTree(main, words: root.words, subcommands: root.subcommands)
        }
        return root.shown(below: [])
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

    init(from decoder: any Decoder) throws {
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

    init(from decoder: any Decoder) throws {
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
