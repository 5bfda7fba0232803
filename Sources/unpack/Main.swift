internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Unpacking

/// Sets up the process, runs one command, and turns whatever ends it into an exit status.
@main
struct Main {
    static func main() {
        do {
            try Program.start(as: "unpack")
            let arguments = try Program.arguments()
            if try answerShell(arguments) { return }
            guard var command = try parser.parse(arguments) else { return }
            try Log.check()
            if !(command is any WorksWithoutProc) { try Program.requireProc() }
            if let status = try (command as? any NamespacedCommand)?.runElsewhere(arguments) {
                RootCommand.exit(withError: ExitCode(status))
            }
            try command.run()
        } catch {
            Program.end(RootCommand.self, with: error)
        }
    }

    private static var parser: CommandLineParser {
        CommandLineParser(
            RootCommand.self, tree: CommandTree.whole, texts: UnpackManual(), groups: RootCommand.groups
        ) { words in
            guard words.command.words.count == 1, let image = words.positionals.first else { return nil }
            return UnknownName(image).command ?? UnknownName.directory(after: words)
        }
    }
}

extension Main {
    /// Prints completions, or a completion script, if the arguments request that.
    ///
    /// - Returns: whether they do.
    private static func answerShell(_ arguments: [String]) throws -> Bool {
        if arguments.first == Completions.request {
            let completions = Completions(Array(arguments.dropFirst()), in: try CommandTree.whole()) {
                NameCompletions($1).candidates(for: $0, $2)
            }
            let lines = completions.lines
            if !lines.isEmpty { try printResult(lines.joined(separator: "\n")) }
            return true
        }
        guard let script = CompletionScript.requested(by: arguments) else { return false }
        guard let script else {
            throw UnpackError(
                .usage, "\(CompletionScript.flag) takes the name of a shell",
                hint: "there is " + CompletionScript.allCases.map(\.rawValue).joined(separator: ", "))
        }
        try printResult(script.text)
        return true
    }
}

/// A command that runs without /proc.
protocol WorksWithoutProc: ParsableCommand {}

extension ConfigCommand: WorksWithoutProc {}
extension DoctorCommand: WorksWithoutProc {}
extension GenerateManualCommand: WorksWithoutProc {}

struct RootCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unpack",
        abstract: "Unpack an OCI image into verified snapshots, and print how to mount it.",
        version: Version.text,
        subcommands: [UnpackCommand.self, BackgroundDeletionCommand.self, GenerateManualCommand.self],
        groupedSubcommands: visible,
        defaultSubcommand: UnpackCommand.self)

    private static let visible = [
        CommandGroup(
            name: "Look into an image",
            subcommands: [
                InspectCommand.self, LsCommand.self, CatCommand.self, CpCommand.self, WhyCommand.self,
                DiffCommand.self,
            ]),
        CommandGroup(
            name: "Mount", subcommands: [MountCommand.self, UmountCommand.self, RunInNamespaceCommand.self]),
        CommandGroup(
            name: "The store",
            subcommands: [
                ImagesCommand.self, RmCommand.self, PruneCommand.self, VerifyCommand.self,
                SnapshotCommand.self,
            ]),
        CommandGroup(name: "This machine", subcommands: [DoctorCommand.self, ConfigCommand.self]),
    ]

    /// The groups of `unpack --help`.
    static let groups = visible.map { group in
        HelpPage.Group(
            title: group.name, commands: group.subcommands.compactMap { $0.configuration.commandName })
    }
}
