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
            var arguments = try Program.arguments()
            // `unpack IMAGE` is a hidden default subcommand, so its help is the program's help.
            if arguments.count == 1, ["-h", "--help", "help"].contains(arguments[0]) {
                arguments = [UnpackCommand.hiddenName, "--help"]
            }
            if try answerShell(arguments) { return }
            var command = try RootCommand.parseAsRoot(arguments)
            try Log.check()
            // ArgumentParser's own `help` command.
            let isHelp = type(of: command).configuration.commandName == "help"
            if !isHelp, !(command is any WorksWithoutProc) { try Program.requireProc() }
            if let status = try (command as? any NamespacedCommand)?.runElsewhere(arguments) {
                RootCommand.exit(withError: ExitCode(status))
            }
            try command.run()
        } catch {
            // A user never types the name of the hidden subcommand.
            Program.end(RootCommand.self, with: error) {
                $0.replacing("unpack \(UnpackCommand.hiddenName)", with: "unpack")
            }
        }
    }
}

extension Main {
    /// Prints completions, or a completion script, if the arguments request that.
    ///
    /// - Returns: whether they do.
    private static func answerShell(_ arguments: [String]) throws -> Bool {
        if arguments.first == Completions.request {
            let lines = Completions(Array(arguments.dropFirst()), in: try CommandTree.whole()).lines
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
        subcommands: [
            UnpackCommand.self, InspectCommand.self, LsCommand.self, WhyCommand.self, DiffCommand.self,
            MountCommand.self, UmountCommand.self,
            ImagesCommand.self,
            RmCommand.self, PruneCommand.self, VerifyCommand.self, SnapshotCommand.self,
            ConfigCommand.self, DoctorCommand.self, RunInNamespaceCommand.self,
            BackgroundDeletionCommand.self,
            GenerateManualCommand.self,
        ],
        defaultSubcommand: UnpackCommand.self)
}
