package import ArgumentParser
internal import Kernel
internal import SystemPackage
internal import Unpacking

/// The process: its name, its arguments, its start and its end.
package enum Program {
    /// The program's name, with which its lines on stderr begin.
    package static var name: String { storedName.withLock { $0 } }

    private static let storedName = Locked("unpack")

    /// Sets up the process. `main` calls it first, before any thread exists.
    package static func start(as name: String) throws {
        storedName.withLock { $0 = name }
        try attempt { try Process.reserveStandardStreams() }
        Process.ignoreWriteSignals()
        Process.setUp()
        Process.onThreadStarvation {
            // As after a crash, the next run removes what this one leaves in the store.
            ErrorReport(UnpackError(SyscallFailure("pthread_create", errno: .resourceTemporarilyUnavailable)))
                .print()
            Process.end(UnpackError.Code.unavailable.exitStatus)
        }
    }

    /// The arguments without the program's name, for messages: invalid UTF-8 is replaced.
    package static let typed = Process.arguments.dropFirst().map { String(decoding: $0, as: UTF8.self) }

    /// Returns the arguments without the program's name.
    ///
    /// - Throws: `.usage` if one is not UTF-8: the parser takes strings, and a path with replaced bytes is another
    ///   path.
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

    /// Checks that /proc is mounted. Commands that only print built-in information do not need it.
    ///
    /// - Throws: `.unavailable`.
    package static func requireProc() throws {
        if Process.hasProc { return }
        throw UnpackError(.unavailable, "\(Doctor.missingProcMessage)", hint: Doctor.missingProcHint)
    }

    /// Reports the error that ended a command, if it needs to be reported, and exits with the matching status.
    ///
    /// - Parameter rewording: applied to messages of the argument parser.
    package static func end(
        _ root: any ParsableCommand.Type, with error: any Error,
        rewording: (String) -> String = { $0 }
    ) -> Never {
        if let error = error as? UnpackError {
            ErrorReport(error).print()
            root.exit(withError: ExitCode(error.code.exitStatus))
        }
        let status = root.exitCode(for: error)
        let text = rewording(message(of: error, from: root))
        if status.isSuccess {
            printHelp(text, root)
        } else if !text.isEmpty {
            // Without a text, the command has already reported all errors itself.
            Log.print(
                LogLine(level: .error, message: text, status: status.rawValue),
                lines: text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
        }
        root.exit(withError: status)
    }

    /// Prints the text of --help or --version. The argument parser would ignore errors on stdout.
    private static func printHelp(_ text: String, _ root: any ParsableCommand.Type) {
        do {
            if !text.isEmpty { try printResult(text) }
        } catch {
            end(root, with: error)
        }
    }

    /// Returns the argument parser's message, which may have several lines. The parser repeats arguments unescaped; if
    /// any needs escaping, the escaped arguments are parsed again for the message.
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

/// Returns the value of an environment variable that is not a path; nil if it is missing or empty. Invalid UTF-8 is
/// replaced.
package func environment(_ name: String) -> String? {
    let value = Process.environmentVariable(name).map { String(decoding: $0, as: UTF8.self) }
    return value?.isEmpty == false ? value : nil
}

/// Returns the value of an environment variable that may be a path; nil if it is missing or empty.
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
