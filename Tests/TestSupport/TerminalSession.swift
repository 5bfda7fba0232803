import Foundation
import Glibc
import SystemPackage

/// A program that runs on a terminal of its own. Call `finish`: it does not end with this object.
package final class TerminalSession {
    private let master: Int32
    private let process: pid_t
    private let arguments: [String]
    private let scratch: TemporaryDirectory
    /// Output to the terminal so far.
    package private(set) var output = [UInt8]()

    /// - Parameters:
    ///   - arguments: the program and its arguments. It runs with the terminal as stdin and stderr, and a file as
    ///     stdout.
    ///   - environment: added to the environment of the test; an empty value removes a variable.
    package init(_ arguments: [String], environment: [String: String] = [:], columns: Int, rows: Int) throws {
        self.arguments = arguments
        scratch = try TemporaryDirectory()
        // posix_openpt(3) and the related functions are not visible to Swift.
        master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        var (isLocked, number) = (Int32(0), UInt32(0))
        guard ioctl(master, Self.setLock, &isLocked) == 0, ioctl(master, Self.getNumber, &number) == 0 else {
            throw Command.Failure(description: "no terminal: \(String(cString: strerror(errno)))")
        }
        let terminal = "/dev/pts/\(number)"
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // The first terminal that a session without one opens becomes its controlling terminal, which Ctrl-C needs.
        posix_spawn_file_actions_addopen(&actions, 0, terminal, O_RDWR, 0)
        posix_spawn_file_actions_addopen(
            &actions, 1, scratch.path.appending("output").string, O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 0, 2)
        actions.closeOthers()
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Self.newSession)

        var all = ProcessInfo.processInfo.environment
        for name in ["CI", "NO_COLOR"] { all[name] = nil }
        all["TERM"] = "xterm"
        all.merge(environment) { $1 }
        var process = pid_t()
        var size = winsize(ws_row: UInt16(rows), ws_col: UInt16(columns), ws_xpixel: 0, ws_ypixel: 0)
        _ = ioctl(master, UInt(TIOCSWINSZ), &size)
        let failure = RunningCommand.withStrings(arguments) { argv in
            RunningCommand.withStrings(all.filter { !$1.isEmpty }.map { "\($0)=\($1)" }) { environment in
                posix_spawnp(&process, arguments[0], &actions, &attributes, argv, environment)
            }
        }
        guard failure == 0 else {
            throw Command.Failure(description: "\(arguments): \(String(cString: strerror(failure)))")
        }
        self.process = process
        _ = fcntl(master, F_SETFL, O_NONBLOCK)
    }

    deinit { close(master) }

    // ioctl_tty(2): TIOCSPTLCK and TIOCGPTN; spawn.h: POSIX_SPAWN_SETSID.
    private static let setLock: UInt = 0x4004_5431
    private static let getNumber: UInt = 0x8004_5430
    private static let newSession: Int16 = 0x80

    /// Sends input to the terminal; `\u{3}` is Ctrl-C.
    package func type(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { write(master, $0.baseAddress, $0.count) }
    }

    package func send(_ signal: Int32) { _ = kill(process, signal) }

    /// Waits until the output to the terminal contains a text.
    package func wait(for text: String, timeout: Double = 60) throws {
        let end = Date() + timeout
        while !String(decoding: output, as: UTF8.self).contains(text) {
            guard Date() < end, !read() else {
                throw Command.Failure(description: "\(arguments) never wrote '\(text)': \(shown)")
            }
            usleep(1000)
        }
    }

    /// Waits for the program.
    ///
    /// - Returns: its stdout, and all output to the terminal as `errors`.
    package func finish(timeout: Double = 60) throws -> Command {
        let end = Date() + timeout
        var status: Int32 = 0
        while waitpid(process, &status, WNOHANG) == 0 {
            guard Date() < end else {
                send(SIGKILL)
                waitpid(process, &status, 0)
                throw Command.Failure(description: "\(arguments) still ran after \(timeout) s: \(shown)")
            }
            _ = read()
            usleep(1000)
        }
        _ = read()
        let signal = status & 0x7F
        let printed = FileManager.default.contents(atPath: scratch.path.appending("output").string)
        return Command(
            arguments: arguments, status: signal == 0 ? status >> 8 & 0xFF : 128 + signal,
            output: printed.map(Array.init) ?? [], errors: output)
    }

    /// Reads the available output.
    ///
    /// - Returns: whether no process has the terminal open any more.
    private func read() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Glibc.read(master, &buffer, buffer.count)
            if count > 0 {
                output += buffer[..<count]
            } else {
                return count == 0 || errno == EIO
            }
        }
    }

    private var shown: String { String(decoding: output, as: UTF8.self).debugDescription }
}

/// The content of a terminal after some output. Emulates only the sequences that programs with progress bars need.
package struct TerminalScreen {
    private let columns: Int
    private let height: Int
    /// All rows from the first, including those scrolled off the top of the screen.
    private var rows = [[UInt8]]([[]])
    private var row = 0
    private var column = 0
    /// Bytes and sequences that this terminal does not emulate.
    package private(set) var unknown = [String]()
    /// Whether the cursor is visible.
    package private(set) var showsCursor = true

    package init(_ bytes: [UInt8], columns: Int, rows height: Int) {
        self.columns = columns
        self.height = height
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            switch byte {
            case 0x0D: column = 0
            case 0x0A: goDown()
            case 0x1B: escape(&rest)
            case 0x20...: put(byte)
            default: unknown.append("byte \(byte)")
            }
        }
    }

    /// The rows that are not empty, without trailing spaces.
    package var lines: [String] {
        rows.map { row in
            String(String(decoding: row, as: UTF8.self).reversed().drop { $0 == " " }.reversed())
        }.filter { !$0.isEmpty }
    }

    /// Whether the cursor is at the start of an empty row.
    package var isAtPrompt: Bool { column == 0 && rows[row].allSatisfy { $0 == 0x20 } }

    private mutating func put(_ byte: UInt8) {
        if column == columns {
            column = 0
            goDown()
        }
        while rows[row].count <= column { rows[row].append(0x20) }
        rows[row][column] = byte
        column += 1
    }

    private mutating func goDown() {
        row += 1
        if row == rows.count { rows.append([]) }
    }

    private mutating func escape(_ rest: inout ArraySlice<UInt8>) {
        guard rest.popFirst() == UInt8(ascii: "[") else { return unknown.append("no CSI") }
        let parameters = rest.prefix { !(0x40...0x7E).contains($0) }
        rest = rest.dropFirst(parameters.count)
        let text = String(decoding: parameters, as: UTF8.self)
        switch (text, rest.popFirst()) {
        // The cursor stops at the top of the screen.
        case (_, UInt8(ascii: "A")): row = max(rows.count - height, row - (Int(text) ?? 1), 0)
        case ("", UInt8(ascii: "K")): rows[row] = Array(rows[row].prefix(column))
        case ("", UInt8(ascii: "J")):
            rows[row] = Array(rows[row].prefix(column))
            for below in rows.indices.dropFirst(row + 1) { rows[below] = [] }
        case ("?25", UInt8(ascii: "h")): showsCursor = true
        case ("?25", UInt8(ascii: "l")): showsCursor = false
        default: unknown.append("CSI \(text)")
        }
    }
}
