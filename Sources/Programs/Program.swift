package import ArgumentParser
internal import Kernel
internal import Streams
internal import SystemPackage
internal import Unpacking

/// The program that runs: how it begins, and how it ends.
package enum Program {
    /// As its users call it: what its lines on stderr begin with.
    package static var name: String { storedName.withLock { $0 } }

    private static let storedName = Guarded("unpack")

    /// Sets up the process: the first thing that `main` does, before any thread.
    package static func start(as name: String) throws {
        storedName.withLock { $0 = name }
        try attempt { try Process.reserveStandardStreams() }
        Process.ignoreWriteSignals()
        Process.takeOver()
        Process.onMissingThreads {
            // The store is as after a crash: the next run removes what is left.
            ErrorReport(UnpackError(SyscallFailure("pthread_create", errno: .resourceTemporarilyUnavailable)))
                .say()
            Process.end(UnpackError.Code.unavailable.exitStatus)
        }
    }

    /// The arguments after the program's name, for messages: bytes that are not UTF-8 are replaced.
    package static let typed = Process.arguments.dropFirst().map { String(decoding: $0, as: UTF8.self) }

    /// The arguments after the program's name.
    ///
    /// - Throws: `.usage` if one is not UTF-8. The parser takes text: a path with its bytes replaced is another path.
    package static func arguments() throws -> [String] {
        try Process.arguments.dropFirst().enumerated().map { index, bytes in
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw UnpackError(
                    .usage, "argument \(index + 1) is not UTF-8: '\(escaped(bytes))'",
                    hint: "name a file of such a name through a symbolic link, or from inside its directory")
            }
            return text
        }
    }

    /// - Throws: `.unavailable` if /proc is missing. Not for commands that only print what the program knows.
    package static func requireProc() throws {
        if Process.hasProc { return }
        throw UnpackError(.unavailable, "\(Doctor.withoutProc)", hint: Doctor.mountProc)
    }

    /// Reports what has ended a command, if there is anything to report, and turns it into the exit status.
    ///
    /// - Parameter rewording: of the argument parser's messages.
    package static func end(
        _ root: any ParsableCommand.Type, with error: any Error,
        rewording: (String) -> String = { $0 }
    ) -> Never {
        if let error = error as? UnpackError {
            ErrorReport(error).say()
            root.exit(withError: ExitCode(error.code.exitStatus))
        }
        let status = root.exitCode(for: error)
        let text = rewording(message(of: error, from: root))
        if status.isSuccess {
            printHelp(text, root)
        } else if !text.isEmpty {
            // A command that has reported everything itself ends with a status alone.
            Talk.say(
                Remark(level: .error, message: text, status: status.rawValue),
                lines: text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
        }
        root.exit(withError: status)
    }

    /// Prints the text of --help or --version. The parser's own way does not notice that stdout cannot be written to.
    private static func printHelp(_ text: String, _ root: any ParsableCommand.Type) {
        do {
            if !text.isEmpty { try say(text) }
        } catch {
            end(root, with: error)
        }
    }

    /// What the argument parser says of an error, in several lines. It repeats what was typed as it is, so that it is asked
    /// once more, with arguments that cannot begin a line of their own.
    private static func message(of error: any Error, from root: any ParsableCommand.Type) -> String {
        let text = root.fullMessage(for: error)
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

/// The value of an environment variable; nil if it is missing or empty. Bytes that are not UTF-8 are replaced: for what is no
/// path.
package func environment(_ name: String) -> String? {
    let value = Process.environmentVariable(name).map { String(decoding: $0, as: UTF8.self) }
    return value?.isEmpty == false ? value : nil
}

/// The value of an environment variable that may be a path; nil if it is missing or empty.
///
/// - Throws: `.usage` if it is not UTF-8.
package func environmentText(_ name: String) throws -> String? {
    guard let bytes = Process.environmentVariable(name), !bytes.isEmpty else { return nil }
    guard let text = String(validating: bytes, as: UTF8.self) else {
        throw UnpackError(
            .usage, "\(name) is not UTF-8: '\(escaped(bytes))'",
            hint: "name a directory of such a name through a symbolic link")
    }
    return text
}
