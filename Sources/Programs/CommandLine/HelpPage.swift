internal import Kernel

/// What `--help` prints about a command: usage, commands, arguments, options in groups, description, and examples.
package struct HelpPage {
    /// Commands under one heading.
    package struct Group {
        package let title: String
        package let commands: [String]

        package init(title: String, commands: [String]) {
            self.title = title
            self.commands = commands
        }
    }

    private let command: CommandTree
    private let texts: any ManualTexts
    private let groups: [Group]

    /// - Parameter groups: of the subcommands; empty for one heading.
    package init(_ command: CommandTree, _ texts: any ManualTexts, groups: [Group] = []) {
        self.command = command
        self.texts = texts
        self.groups = groups
    }

    /// The names of the flag.
    package static let flags: Set = ["-h", "--help"]

    /// - Parameter columns: the width to which paragraphs are wrapped; verbatim lines may be longer.
    package func text(columns: Int) -> String {
        var page = Page(columns: columns)
        page.usage(of: command)
        page.paragraph(command.abstract)
        for group in commandGroups {
            page.section(
                group.title, indentation: 20,
                group.commands.map { ($0.words.last ?? "", $0.abstract) }
            )
        }
        page.section("Arguments", command.positionals.map { ($0.placeholder, $0.abstract) })
        let options = command.arguments.filter { $0.kind != .positional }
        for title in options.map(\.group).uniqued {
            page.section(title, options.filter { $0.group == title }.map { ($0.label, $0.description) })
        }
        page.prose(command.discussion)
        page.examples(texts.examples(of: command.words))
        return page.text
    }

    private var commandGroups: [(title: String, commands: [CommandTree])] {
        let named = groups.map { group in
            (title: group.title, commands: group.commands.compactMap { command.subcommand(named: $0) })
        }
        let grouped = Set(groups.flatMap(\.commands))
        let rest = command.subcommands.filter { !grouped.contains($0.words.last ?? "") }
        return named + [(title: "Commands", commands: rest)]
    }
}

extension CommandTree.Argument {
    fileprivate static let otherGroup = "Options"

    fileprivate var group: String { section ?? Self.otherGroup }

    fileprivate var label: String {
        names.joined(separator: ", ") + (kind == .option ? " " + placeholder : "")
    }

    fileprivate var description: String {
        abstract + (defaultValue.map { " Default: \($0)." } ?? "")
    }
}

extension [String] {
    fileprivate var uniqued: [String] {
        reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }
}

/// A help text in the making.
private struct Page {
    private(set) var text = ""
    private let columns: Int

    init(columns: Int) { self.columns = min(max(columns, 60), 100) }

    mutating func usage(of command: CommandTree) {
        var lines = [command.synopsis]
        let name = command.words.joined(separator: " ")
        if !command.subcommands.isEmpty {
            if command.words.count > 1 { lines = [] }
            lines.append("\(name) COMMAND ...")
        }
        text += zip(["usage: "] + lines.dropFirst().map { _ in "       " }, lines).map { $0 + $1 + "\n" }
            .joined()
    }

    mutating func paragraph(_ paragraph: String) { text += "\n" + wrapped(paragraph, at: 0) + "\n" }

    /// Appends items under a heading; nothing if there are none.
    ///
    /// - Parameter indentation: the column in which descriptions begin.
    mutating func section(
        _ title: String, indentation: Int = 24, _ items: [(label: String, description: String)]
    ) {
        if items.isEmpty { return }
        text += "\n\(title):\n"
        for (label, description) in items {
            let first = "  " + label
            let body = wrapped(description, at: indentation)
            if first.count < indentation - 1 {
                text += first + body.dropFirst(first.count) + "\n"
            } else {
                text += first + "\n" + body + "\n"
            }
        }
    }

    /// Appends paragraphs separated by empty lines. One that is indented by two spaces is verbatim.
    mutating func prose(_ prose: String) {
        for paragraph in prose.split(separator: "\n\n") {
            let isVerbatim = paragraph.split(separator: "\n").allSatisfy { $0.hasPrefix("  ") }
            if isVerbatim {
                text += "\n" + paragraph + "\n"
            } else {
                self.paragraph(String(paragraph))
            }
        }
    }

    mutating func examples(_ examples: [(line: String, meaning: String)]) {
        if examples.isEmpty { return }
        text += "\nExamples:\n"
        for (line, meaning) in examples { text += wrapped(meaning, at: 2) + "\n    \(line)\n" }
    }

    private func wrapped(_ paragraph: String, at indentation: Int) -> String {
        let margin = String(repeating: " ", count: indentation)
        return paragraph.split(separator: "\n", omittingEmptySubsequences: false).map { source in
            var lines = [margin]
            var isEmpty = true
            for word in source.split(separator: " ") {
                if !isEmpty, lines[lines.count - 1].count + 1 + word.count > columns {
                    lines.append(margin)
                    isEmpty = true
                }
                lines[lines.count - 1] += (isEmpty ? "" : " ") + word
                isEmpty = false
            }
            return lines.joined(separator: "\n")
        }.joined(separator: "\n")
    }
}
