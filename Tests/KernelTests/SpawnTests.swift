import Glibc
import Kernel
import TestSupport
import Testing

@Suite("Running programs") struct SpawnTests {
    @Test(
        "Status and standard error are returned, output is discarded",
        arguments: [
            ("exit 0", 0, ""), ("echo out; echo wrong >&2; exit 3", 3, "wrong\n"), ("kill -9 $$", 137, ""),
            ("cat; exit 4", 4, ""), ("kill -PIPE $$", 141, ""),
        ] as [(String, Int32, String)])
    func runs(script: String, status: Int32, errors: String) throws {
        let result = try Process.run("sh", ["-c", script])
        #expect(result.status == status)
        #expect(result.text == errors)
    }

    @Test("Standard output is returned, too, if it is asked for")
    func output() throws {
        let result = try Process.run("sh", ["-c", "echo out; echo wrong >&2; exit 3"], keepsOutput: true)
        #expect(result.status == 3 && result.text == "out\nwrong\n")
    }

    @Test("Arguments are passed unchanged")
    func arguments() throws {
        let result = try Process.run("sh", ["-c", #"printf '%s|' "$@" >&2"#, "sh", "a b", "", "é*"])
        #expect(result.text == "a b||é*|")
    }

    /// A file that a child has open keeps its blocks after it is removed, and its file system mounted. Foundation opens
    /// files without close-on-exec.
    @Test("Started programs inherit no descriptors")
    func nothingIsInherited() throws {
        let descriptor = open("/dev/null", O_RDONLY)
        defer { close(descriptor) }
        let script = "test ! -e /proc/self/fd/\(descriptor)"
        #expect(try Process.run("sh", ["-c", script]).status == 0)
        #expect(try Command.run("sh", "-c", script).status == 0)
        #expect(try TerminalSession(["sh", "-c", script], columns: 80, rows: 24).finish().status == 0)
    }

    @Test(
        "The beginning of a long standard error is kept, and the program is not blocked",
        .timeLimit(.minutes(1)))
    func long() throws {
        let result = try Process.run("sh", ["-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 5"])
        #expect(result.status == 5)
        #expect(result.text.utf8.count == 65536)
    }

    @Test("A program that is missing or not executable is reported")
    func missing() {
        let failure = #expect(throws: SyscallFailure.self) { try Process.run("no-such-program", []) }
        #expect(failure?.isMissing == true)
        #expect(failure?.path == "no-such-program")
        let folder = #expect(throws: SyscallFailure.self) { try Process.run("/", []) }
        #expect(folder?.isPermission == true)
    }
}
