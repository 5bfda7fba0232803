import Foundation
import Glibc
package import SystemPackage

/// The result of a program that a test ran.
package struct Command: Sendable {
    package let arguments: [String]
    package let status: Int32
    package let output: [UInt8]
    package let errors: [UInt8]

    package var text: String { String(decoding: output, as: UTF8.self) }
    package var errorText: String { String(decoding: errors, as: UTF8.self) }

    /// Description of a failed run: arguments, status and output.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// Runs a program and waits for it.
    ///
    /// - Parameters:
    ///   - arguments: the program, looked up in PATH, and its arguments.
    ///   - environment: added to the environment of the test.
    ///   - timeout: in seconds, after which the program is killed.
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
        try RunningCommand(arguments, input: input, environment: environment, in: folder).finish(
            timeout: timeout)
    }

    /// - Throws: `Failure` with the output of the program, unless its status is 0.
    @discardableResult
    package func succeed() throws -> Command {
        guard status == 0 else { throw Failure(description: report) }
        return self
    }

    package var report: String { "\(arguments) ended with \(status)\n\(text)\n\(errorText)" }
}

/// A running program that a test has started. Call `finish` or `kill`: it does not end with this object.
package final class RunningCommand {
    private let process: pid_t
    private let arguments: [String]
    private let scratch: TemporaryDirectory
    private var status: Int32?

    package init(
        _ arguments: [String], input: [UInt8] = [], environment: [String: String] = [:],
        in folder: FilePath = "/"
    ) throws {
        self.arguments = arguments
        scratch = try TemporaryDirectory()
        var files = ["input", "output", "errors"].map { [scratch] in scratch.path.appending($0).string }
        if input.isEmpty { files[0] = "/dev/null" } else { try scratch.write("input", input) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, files[0], O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, files[1], O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, files[2], O_WRONLY | O_CREAT, 0o600)
        actions.closeOthers()

        let all = ProcessInfo.processInfo.environment.merging(environment) { $1 }.map { "\($0)=\($1)" }
        var process = pid_t()
        // The shell only changes the working directory; exec replaces it.
        let shell = ["sh", "-c", #"cd "$0" && exec "$@""#, folder.string]
        let failure = Self.withStrings(shell + arguments) { argv in
            Self.withStrings(all) { environment in
                posix_spawnp(&process, "sh", &actions, nil, argv, environment)
            }
        }
        guard failure == 0 else {
            throw Command.Failure(description: "\(arguments): \(String(cString: strerror(failure)))")
        }
        self.process = process
    }

    /// Waits for the program.
    ///
    /// - Parameter timeout: in seconds, after which the program is killed.
    package func finish(timeout: Double = 60) throws -> Command {
        try Self.finish([self], timeout: timeout)[0]
    }

    /// Waits for all programs. After the timeout, the failure describes what each program that still runs is doing.
    package static func finish(_ all: [RunningCommand], timeout: Double = 60) throws -> [Command] {
        let end = Date() + timeout
        while all.contains(where: \.isRunning) {
            guard Date() > end else {
                usleep(1000)
                continue
            }
            let running = all.filter(\.isRunning)
            let states = running.map(\.state).joined(separator: "\n")
            for command in running { command.kill() }
            for command in running { while command.isRunning { usleep(1000) } }
            throw Command.Failure(
                description: "after \(timeout) seconds still running:\n\(states)\n"
                    + all.map { $0.command(-1).report }.joined(separator: "\n"))
        }
        return all.map { $0.command($0.status ?? -1) }
    }

    package func kill() { send(SIGKILL) }

    package func send(_ signal: Int32) { _ = Glibc.kill(process, signal) }

    /// Standard error so far.
    package var errorText: String { text(of: "errors") }

    /// Standard output so far.
    package var outputText: String { text(of: "output") }

    private func text(of name: String) -> String {
        String(decoding: Self.contents(scratch.path.appending(name).string), as: UTF8.self)
    }

    package var isRunning: Bool {
        if status != nil { return false }
        var raw: Int32 = 0
        guard waitpid(process, &raw, WNOHANG) != 0 else { return true }
        // The exit status, or 128 plus the signal that ended it.
        let signal = raw & 0x7F
        status = signal == 0 ? raw >> 8 & 0xFF : 128 + signal
        return false
    }

    /// What the threads are doing, from /proc.
    private var state: String {
        let folder = "/proc/\(process)/task"
        let threads = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        let lines = threads.sorted().map { thread in
            let facts = ["comm", "syscall", "wchan", "stack"].map { name in
                String(decoding: Self.contents("\(folder)/\(thread)/\(name)"), as: UTF8.self).split(
                    separator: "\n"
                ).joined(separator: " < ")
            }
            return "  thread \(thread): " + facts.joined(separator: " | ")
        }
        return (["process \(process): \(arguments)"] + lines).joined(separator: "\n")
    }

    private func command(_ status: Int32) -> Command {
        Command(
            arguments: arguments, status: status,
            output: Self.contents(scratch.path.appending("output").string),
            errors: Self.contents(scratch.path.appending("errors").string))
    }

    /// Reads to the end, because files in /proc report no size.
    private static func contents(_ path: String) -> [UInt8] {
        guard let file = FileHandle(forReadingAtPath: path) else { return [] }
        return ((try? file.readToEnd()) ?? nil).map(Array.init) ?? []
    }

    static func withStrings<Result>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let copies = strings.map { strdup($0) }
        defer { copies.forEach { free($0) } }
        return body(copies + [nil])
    }
}

extension posix_spawn_file_actions_t {
    /// Closes all descriptors but the standard streams. A child that inherited files of other tests would keep their
    /// blocks after they are removed, and their file systems mounted.
    mutating func closeOthers() {
        // In spawn.h since glibc 2.34, but not visible to Swift.
        typealias Function = @convention(c) (UnsafeMutablePointer<Self>, Int32) -> Int32
        let add = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np")
        _ = unsafeBitCast(add, to: Function.self)(&self, STDERR_FILENO + 1)
    }
}
