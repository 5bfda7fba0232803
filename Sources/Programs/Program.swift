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
        Process.addSystemDirectoriesToPath()
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

    /// Calls `body` at the first SIGINT or SIGTERM, and removes the status area from the terminal while the process is
    /// stopped (Ctrl-Z): the shell writes there.
    ///
    /// - Precondition: as that of `Process.onTermination`.
    package static func onTermination(_ body: @escaping @Sendable (Int32) -> Void) throws {
        try attempt {
            try Process.onTermination(
                body, stopping: { Log.withoutStatus($0) }, continued: { Log.dropStatus() })
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
    package static func end(_ root: any ParsableCommand.Type, with error: any Error) -> Never {
        let status = root.exitCode(for: error)
        if error is ExitCode { root.exit(withError: status) }
        do throws(UnpackError) {
            if !status.isSuccess { try attempt { () throws -> Void in throw error } }
            // The version. The argument parser would ignore errors on stdout.
            try attempt { try printResult(root.fullMessage(for: error)) }
        } catch {
            ErrorReport(error).print()
            root.exit(withError: ExitCode(error.code.exitStatus))
        }
        root.exit(withError: status)
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
