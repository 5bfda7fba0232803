import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

/// Every command exits within a limited time if the system allows it few threads and processes, or none.
@Suite(
    "Threads and processes are refused",
    .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct RefusedThreadTests {
    /// In seconds, with a margin for a loaded machine. The defect was a wait without end.
    private static let patience = 30.0

    private static let busybox = Program.fixtures.appending("busybox").string

    /// Runs commands from unpacking to removal one after another, each under the limit.
    private func live(_ program: Program, _ limited: ([String]) -> [String]) throws {
        let output = program.scratch.path.appending("o-\(UInt32.random(in: .min ... .max))")
        let commands = [
            [Self.busybox], [Self.busybox, "--output", output.string], [Self.busybox, "--rw", "key"],
            ["inspect", Self.busybox],
            ["ls", Self.busybox], ["why", Self.busybox, "/bin/busybox"], ["images"], ["snapshot", "ls"],
            ["snapshot", "prepare", "other"], ["verify"], ["rm", "busybox:1.0"], ["prune"], ["doctor"],
        ]
        for command in commands {
            let run = try Command.run(
                limited([Program.path.string] + command),
                environment: ["UNPACK_ROOT": program.root.string, "UNPACK_CONFIG": "", "UNPACK_JOBS": "2"],
                timeout: Self.patience)
            // 66: an earlier command failed to create it. 64: an earlier command has created it already.
            let refused: Int32 = command == ["verify"] ? 8 : 69
            #expect([0, 64, 66, refused].contains(run.status), "\(run.report)")
            if run.errorText.contains("pthread_create") {
                #expect(run.status == refused && run.text.isEmpty, "\(run.report)")
                #expect(run.errorText.contains("\nhint: allow "), "\(run.report)")
            }
            if try program.root.appending("metadata.db").exists() { try expectNothingBegun(program) }
        }
    }

    private func expectNothingBegun(_ program: Program) throws {
        #expect(
            try program.rows(
                "SELECT count(*) FROM snapshot WHERE kind != 'committed' AND name NOT IN ('key', 'other')")
                == "0\n")
        #expect(try Directory(opening: program.root.appending("runs")).names().isEmpty)
    }

    @Test(
        "A cgroup with a low process limit",
        .enabled(if: PidsCgroup.isPossible, "needs a cgroup with pids.max"),
        .disabled(if: TestEnvironment.isSanitized, "LeakSanitizer starts a process at the end"),
        arguments: [1, 2, 3, 5, 7])
    func fewProcesses(max: Int) throws {
        let program = try Program()
        let group = try PidsCgroup(max: max)
        try live(program, group.words)
        // With a complete store, commands that only read it work with one thread.
        try program.run("-q", Self.busybox).succeed()
        try live(program, group.words)
        let images = try Command.run(
            group.words([Program.path.string, "images", "--root", program.root.string]))
        #expect(images.status == 0, "\(images.report)")
    }

    @Test("A seccomp filter", arguments: [EPERM, EAGAIN, ENOSYS])
    func filter(errno: Int32) throws {
        let program = try Program()
        try live(program) { refusingThreads(errno, $0) }
        try program.run("-q", Self.busybox).succeed()
        try live(program) { refusingThreads(errno, $0) }
    }

    /// The limit counts all processes of the user, so any of the commands may be refused.
    @Test(
        "A user with a low process limit",
        .enabled(if: TestEnvironment.canBeOrdinary, "needs user namespaces"),
        .disabled(if: TestEnvironment.isSanitized, "LeakSanitizer starts a process at the end"),
        arguments: [1, 2, 4, 8])
    func user(limit: Int) throws {
        let user = try OrdinaryUser(.single)
        for command in ["busybox", "busybox --output out", "ls busybox", "images"] {
            let run = try user.run("prlimit", "--nproc=\(limit)", "sh", "-c", "exec unpack \(command)")
            #expect([0, 69].contains(run.status), "\(run.report)")
            if limit == 1, !command.hasPrefix("ls") { #expect(run.status == 69, "\(run.report)") }
            if run.status == 69 {
                #expect(run.errorText.contains("hint: allow more processes"), "\(run.report)")
            }
        }
        try user.run("unpack", "-q", "busybox").succeed()
    }
}
