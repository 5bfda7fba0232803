import Foundation
import Glibc
package import SystemPackage

/// A program that a test ran.
package struct Command: Sendable {
    package let arguments: [String]
    package let status: Int32
    package let output: [UInt8]
    package let errors: [UInt8]

    package var text: String { String(decoding: output, as: UTF8.self) }
    package var errorText: String { String(decoding: errors, as: UTF8.self) }

    /// Everything that there is to know about a run that went wrong.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// Runs a program to its end.
    ///
    /// - Parameters:
    ///   - arguments: the program, looked up in PATH, and what it is given.
    ///   - environment: added to the test's own.
    ///   - timeout: in seconds; a program that takes longer is killed.
    package static func run(
        _ arguments: String..., input: [UInt8] = [], environment: [String: String] = [:],
        in folder: FilePath = "/", timeout: Double = 60
    ) throws -> Command {
        try run(arguments, input: input, environment: environment, in: folder, timeout: timeout)
    }

    package static func run(
        _ arguments: [String], input: [UInt8] = [], environment: [String: String] = [:],
        in folder: FilePath = "/", timeout: Double = 60
    ) throws -> Command {
        let scratch = try TemporaryDirectory()
        try scratch.write("input", input)
        let files = ["input", "output", "errors"].map { scratch.path.appending($0).string }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, files[0], O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, files[1], O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, files[2], O_WRONLY | O_CREAT, 0o600)

        let all = ProcessInfo.processInfo.environment.merging(environment) { $1 }.map { "\($0)=\($1)" }
        var process = pid_t()
        // The shell only changes the folder; it becomes the program.
        let shell = ["sh", "-c", #"cd "$0" && exec "$@""#, folder.string]
        let failure = withStrings(shell + arguments) { argv in
            withStrings(all) { environment in
                posix_spawnp(&process, "sh", &actions, nil, argv, environment)
            }
        }
        guard failure == 0 else {
            throw Failure(description: "\(arguments): \(String(cString: strerror(failure)))")
        }
        let status = wait(for: process, timeout)
        let command = Command(
            arguments: arguments, status: status ?? -1, output: contents(files[1]), errors: contents(files[2])
        )
        if status == nil {
            throw Failure(description: "after \(timeout) seconds still running: \(command.report)")
        }
        return command
    }

    /// - Throws: `Failure` with all that the program said, unless its status is 0.
    @discardableResult
    package func succeed() throws -> Command {
        guard status == 0 else { throw Failure(description: report) }
        return self
    }

    package var report: String { "\(arguments) ended with \(status)\n\(text)\n\(errorText)" }

    /// The exit status, 128 and the signal where one ended it; nil where it had to be killed.
    private static func wait(for process: pid_t, _ timeout: Double) -> Int32? {
        let end = Date() + timeout
        var status: Int32 = 0
        while waitpid(process, &status, WNOHANG) == 0 {
            usleep(1000)
            if Date() > end {
                kill(process, SIGKILL)
                waitpid(process, &status, 0)
                return nil
            }
        }
        let signal = status & 0x7F
        return signal == 0 ? status >> 8 & 0xFF : 128 + signal
    }

    private static func contents(_ path: String) -> [UInt8] {
        (FileManager.default.contents(atPath: path)).map(Array.init) ?? []
    }

    private static func withStrings<Result>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let copies = strings.map { strdup($0) }
        defer { copies.forEach { free($0) } }
        return body(copies + [nil])
    }
}
