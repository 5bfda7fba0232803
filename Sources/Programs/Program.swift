package import ArgumentParser
internal import Kernel
internal import Streams
internal import Unpacking

/// The program that runs: how it begins, and how it ends.
package enum Program {
    /// As its users call it: what its lines on stderr begin with.
    package static var name: String { storedName.withLock { $0 } }

    private static let storedName = Guarded("unpack")

    /// Sets up the process: the first thing that `main` does, before any thread.
    package static func start(as name: String) {
        storedName.withLock { $0 = name }
        Process.reserveStandardStreams()
        Process.ignoreBrokenPipes()
        Process.takeOver()
    }

    /// Says what has ended a command, where there is something to say, and turns it into the exit status.
    ///
    /// - Parameter rewording: of what the argument parser says.
    package static func end(
        _ root: any ParsableCommand.Type, with error: any Error,
        rewording: (String) -> String = { $0 }
    ) -> Never {
        if let error = error as? UnpackError {
            ErrorReport(error).say()
            root.exit(withError: ExitCode(error.code.exitStatus))
        }
        let status = root.exitCode(for: error)
        // What --help and --version say, which is data.
        if status.isSuccess { root.exit(withError: error) }
        // A command that has told all by itself ends with a status alone.
        let text = rewording(message(of: error, from: root))
        if !text.isEmpty {
            Talk.say(
                Remark(level: .error, message: text, status: status.rawValue),
                lines: text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
        }
        root.exit(withError: status)
    }

    /// What the argument parser says of an error, in several lines. It repeats what was typed as it is, so that it is asked
    /// once more, with arguments that cannot begin a line of their own.
    private static func message(of error: any Error, from root: any ParsableCommand.Type) -> String {
        let text = root.fullMessage(for: error)
        let typed = Array(CommandLine.arguments.dropFirst())
        let shown = typed.map { printable($0) }
        if text.isEmpty || shown == typed { return text }
        do {
            _ = try root.parseAsRoot(shown)
            return printable(text)
        } catch {
            return root.fullMessage(for: error)
        }
    }
}
