import Foundation
import SystemPackage
import TestSupport
import Testing

/// Types every command line of `docs/mistyped.md`, and compares the status, the message and the hint.
@Suite(
    "Mistyped command lines",
    .enabled(if: TestEnvironment.canApplyLayers, "needs root and a place for layers"))
struct MistypedTests {
    private static let rows = ErrorTableTests.rows(of: "mistyped.md")

    @Test("The table has at least forty command lines, each once")
    func complete() {
        #expect(Self.rows.count >= 40)
        #expect(Set(Self.rows.map(\.situation)).count == Self.rows.count)
    }

    @Test(
        "Each command line gives the status, the message and the hint of its row, and does nothing",
        arguments: rows)
    func row(row: ErrorTableTests.Row) throws {
        let program = try Program()
        let folder = try program.scratch.makeDirectory("here")
        _ = try program.scratch.makeDirectory("here/mnt")
        try FileManager.default.createSymbolicLink(
            atPath: folder.appending("image").string, withDestinationPath: ErrorTableTests.busybox)
        let line = row.situation.trimmingCharacters(in: CharacterSet(charactersIn: "`"))
        try #require(line == "unpack" || line.hasPrefix("unpack "))
        let script = #"unpack() { "$0" "$@"; }; "# + line
        let run = try Command.run(
            ["sh", "-c", script, Program.path.string],
            environment: ["UNPACK_ROOT": program.root.string, "UNPACK_CONFIG": ""], in: folder)
        row.expect(run)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: folder.string).sorted() == ["image", "mnt"])
        #expect(!FileManager.default.fileExists(atPath: program.root.string))
    }
}
