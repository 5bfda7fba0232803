import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

/// The content of a terminal while the program runs.
@Suite("Terminal", .enabled(if: TestEnvironment.canApplyLayers, "needs root and a file system for layers"))
struct TerminalTests {
    /// An image that is large enough for several frames.
    private static func image(_ program: Program, layers: Int = 4, megabytes: Int = 24) throws -> String {
        let megabyte = Bytes.noise(1 << 20).array
        let layers = (1...layers).map { layer in
            LayerBuilder((1...megabytes).map { .file("\(layer)-\($0)", Bytes(megabyte)) })
        }
        return try program.image(layers, packing: .none).path.string
    }

    private func start(
        _ program: Program, _ arguments: [String], columns: Int = 80, rows: Int = 24,
        environment: [String: String] = [:]
    ) throws -> TerminalSession {
        try TerminalSession(
            [Program.path.string] + arguments + [
                "--root", program.root.string, "--snapshotter", "overlayfs",
            ],
            environment: ["UNPACK_CONFIG": ""].merging(environment) { $1 }, columns: columns, rows: rows)
    }

    /// The screen after each frame. A frame ends with the sequence that erases everything below.
    private func frames(_ result: Command, columns: Int, rows: Int) -> [TerminalScreen] {
        let ends = result.errors.indices.filter {
            result.errors[..<$0].suffix(3) == Array("\u{1B}[J".utf8)[...]
        }
        return ends.map { TerminalScreen(Array(result.errors[..<$0]), columns: columns, rows: rows) }
    }

    @Test(
        "Bars fit a terminal of any size, and only the summary remains",
        arguments: [(80, 24), (40, 10), (120, 5), (24, 3), (12, 2), (5, 1)])
    func bars(columns: Int, rows: Int) throws {
        let program = try Program()
        let image = try Self.image(program)
        let arguments = [image, "--jobs", "3"]
        let result = try start(program, arguments, columns: columns, rows: rows).finish().succeed()
        #expect(result.text.hasPrefix("mount ") && result.text.split(separator: "\n").count == 1)
        let frames = frames(result, columns: columns, rows: rows)
        #expect(rows == 1 ? frames.isEmpty : frames.count >= 3)
        for frame in frames {
            #expect(frame.unknown.isEmpty && frame.showsCursor && frame.isAtPrompt, "\(frame)")
            #expect(frame.lines.count <= max(1, rows - 1), "\(frame.lines)")
            #expect(frame.lines.allSatisfy { $0.utf8.count < columns }, "\(frame.lines)")
            #expect(Set(frame.lines.map { $0.firstIndex(of: "]")?.utf16Offset(in: $0) }).count <= 1)
        }
        if columns == 80 {
            let wide = frames.flatMap(\.lines)
            #expect(wide.contains { $0.matches("layer * of 4  [*]  *%  * of 25.2 MB") })
            #expect(wide.contains { $0.matches("total * [*]  *%  * of 100.7 MB*") })
            #expect(wide.contains { $0.hasSuffix("writing to the disk") })
        }
        if columns == 40 {
            #expect(
                frames.flatMap(\.lines).contains {
                    $0.matches("*/4  [*]  *%  *")
                })
        }
        let end = TerminalScreen(result.errors, columns: 200, rows: 50)
        #expect(
            end.lines.count == 1 && end.lines[0].matches("unpack: 4 layers, 100.7 MB in * s"), "\(end.lines)")
        #expect(end.isAtPrompt)
        // stdout is the same on a terminal, and the second run has no progress to show.
        let again = try program.run(arguments).succeed()
        #expect(again.text == result.text)
        #expect(try start(program, arguments).finish().errors == [])
    }

    @Test("Lines are printed above the bars")
    func lines() throws {
        let program = try Program()
        let session = try start(program, [try Self.image(program), "--verbose", "--jobs", "2"], columns: 100)
        let result = try session.finish().succeed()
        let screen = TerminalScreen(result.errors, columns: 300, rows: 100)
        #expect(screen.lines.filter { $0.contains(" entries, committed as sha256:") }.count == 4)
        #expect(
            screen.lines.count == 6 && screen.lines.allSatisfy { $0.hasPrefix("unpack: ") }, "\(screen.lines)"
        )
    }

    @Test(
        "Without an interactive terminal, lines are printed instead of bars",
        arguments: [["NO_COLOR": "1"], ["CI": "true"], ["TERM": "dumb"], ["UNPACK_PROGRESS": "plain"]])
    func noBars(environment: [String: String]) throws {
        let program = try Program()
        let image = try Self.image(program, layers: 2, megabytes: 2)
        let result = try start(program, [image], environment: environment).finish().succeed()
        #expect(!result.errors.contains(0x1B))
        #expect(
            result.errorText.matches("unpack: layer 1 of 2 *s\r\nunpack: layer 2 of 2 *s\r\n"),
            "\(result.report)")
    }

    @Test("--quiet and JSON draw no bars")
    func noBarsByOptions() throws {
        for (options, begin) in [
            (["--quiet"], ""), (["--progress", "none"], ""),
            (["--progress", "json"], "{\"event\":\"planned\""),
            (["--log-format", "json"], "{\"level\":\"info\""),
        ] {
            let program = try Program()
            let image = try Self.image(program, layers: 1, megabytes: 2)
            let result = try start(program, [image] + options).finish().succeed()
            #expect(!result.errors.contains(0x1B) && result.errorText.hasPrefix(begin))
            if begin.isEmpty { #expect(result.errors.isEmpty) }
        }
    }

    @Test("Ctrl-C and SIGTERM leave a clean store and a clean terminal", arguments: [SIGINT, SIGTERM])
    func interrupted(signal: Int32) throws {
        let program = try Program()
        let session = try start(program, [try Self.image(program, layers: 4, megabytes: 60), "--jobs", "2"])
        try session.wait(for: "total")
        if signal == SIGINT { session.type("\u{3}") } else { session.send(signal) }
        let result = try session.finish()
        #expect(result.status == 128 + signal)
        #expect(result.text == "")
        try program.expectClean()
        let screen = TerminalScreen(result.errors, columns: 80, rows: 24)
        #expect(screen.lines.map { $0.hasPrefix("unpack: ") } == [true], "\(screen.lines)")
        #expect(screen.isAtPrompt && screen.showsCursor && screen.unknown.isEmpty)
    }

    @Test("Ctrl-Z erases the bars before the program stops, and they return below what the shell writes")
    func stopping() throws {
        let program = try Program()
        let image = try Self.image(program, layers: 4, megabytes: 60)
        // A shell with job control: the kernel does not stop a process whose parent is in another session.
        let session = try TerminalSession(
            ["bash", "-c", #"set -m; "$@"; echo SHELL >&2; fg"#, "bash", Program.path.string, image]
                + ["--root", program.root.string, "--snapshotter", "overlayfs", "--jobs", "2"],
            environment: ["UNPACK_CONFIG": ""], columns: 80, rows: 24)
        try session.wait(for: "total")
        session.type("\u{1A}")
        try session.wait(for: "SHELL")
        let stopped = TerminalScreen(session.output, columns: 80, rows: 24)
        #expect(!stopped.lines.contains { $0.contains("total") }, "\(stopped.lines)")
        let result = try session.finish().succeed()
        let screen = TerminalScreen(result.errors, columns: 80, rows: 24)
        #expect(screen.lines.contains { $0.hasSuffix("SHELL") }, "\(screen.lines)")
        #expect(
            !screen.lines.contains { $0.contains("total") || $0.contains("layer 1 of") }, "\(screen.lines)")
        #expect(screen.lines.last?.hasPrefix("unpack: 4 layers, ") == true, "\(screen.lines)")
        #expect(screen.isAtPrompt && screen.unknown.isEmpty)
    }
}
