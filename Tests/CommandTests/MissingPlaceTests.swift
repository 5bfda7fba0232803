import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

/// Directories and variables that every development machine has are removed one by one. A command gives its usual
/// result, or exits with a status other than 0 and prints nothing to stdout.
@Suite(
    "A machine without /proc, /dev, /tmp or HOME",
    .enabled(if: TestEnvironment.canMountOverlay, "needs root and mounts"))
struct MissingPlaceTests {
    enum Place: String, CaseIterable {
        case proc = "umount -l /proc"
        /// A /proc with processes only (proc(5), subset=pid).
        case procWithoutSystem = "mount -t proc -o subset=pid proc /proc"
        /// An empty /proc: like that of another PID namespace, it does not have the calling process.
        case foreignProc = "mount -t tmpfs tmpfs /proc"
        case dev = "mount -t tmpfs tmpfs /dev"
        case tmp = "mount -t tmpfs -o ro tmpfs /tmp; mount -t tmpfs -o ro tmpfs /var/tmp"
        case temporaryFolder = "export TMPDIR=/nonexistent"
        case home = "unset HOME"

        /// Whether /proc/self/fd exists.
        var hasDescriptors: Bool { ![.proc, .foreignProc].contains(self) }

        /// A sanitizer cannot start without /proc/self.
        static let possible = allCases.filter { $0.hasDescriptors || !TestEnvironment.isSanitized }
    }

    private static let image = "/mnt/image"

    /// Commands of both programs that only print.
    private static let simple = [
        ["unpack", "--help"], ["unpack", "help"], ["unpack", "--version"], ["unpack", "ls", "--help"],
        ["unpack", "config"],
        ["unpack", "--generate-completion-script", "bash"], ["unpack", "---complete", "insp"],
        ["unpack-snapshotter", "--help"], ["unpack-snapshotter", "--version"],
    ]

    private static let others = [
        ["inspect", image], ["ls", image], ["why", image, "/bin/busybox"], ["diff", image, image],
        [image, "--output", "-"], ["-q", image], ["-q", image, "--format", "json"], ["images"], ["verify"],
        ["-q", image, "--rw", "key"], ["snapshot", "ls"], ["snapshot", "mounts", "key"],
        ["mount", image, "/mnt/target"],
        ["umount", "/mnt/nothing"], ["snapshot", "rm", "key"], ["rm", "busybox:1.0"], ["prune"],
        ["run-in-namespace", "--", "true"], [],
    ].map { ["unpack"] + $0 }

    /// Runs a command in a mount namespace of its own, with the scratch directory mounted on /mnt.
    private func run(_ words: [String], in scratch: FilePath, without place: Place?) throws -> Command {
        let program = Built.program(words[0]).string
        return try Command.run(
            [
                "unshare", "-m", "sh", "-ec",
                #"mount --bind "$0" /mnt; eval "$1"; shift; exec "$@""#, scratch.string,
                place?.rawValue ?? ":", program,
            ] + words.dropFirst(),
            environment: ["UNPACK_ROOT": "/mnt/store", "UNPACK_CONFIG": "", "UNPACK_PROGRESS": "none"])
    }

    private func scratch() throws -> TemporaryDirectory {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        _ = try scratch.makeDirectory("target")
        try Command.run(
            "cp", "-r", Program.fixtures.appending("busybox").string, scratch.path.appending("image").string
        ).succeed()
        return scratch
    }

    @Test("Commands that only print work everywhere", arguments: Place.possible)
    func simple(place: Place) throws {
        let scratch = try scratch()
        for words in Self.simple {
            let expected = try run(words, in: scratch.path, without: nil).succeed()
            let run = try run(words, in: scratch.path, without: place)
            #expect(run.status == 0 && run.text == expected.text, "\(run.report)")
        }
    }

    @Test(
        "The other commands give the same result, or report what is missing",
        arguments: Place.possible.filter { $0 != .procWithoutSystem })
    func others(place: Place) throws {
        let (scratch, other) = (try scratch(), try scratch())
        for words in Self.others {
            let expected = try run(words, in: other.path, without: nil)
            let run = try run(words, in: scratch.path, without: place)
            if place.hasDescriptors {
                #expect(run.status == expected.status && run.output == expected.output, "\(run.report)")
            } else if run.status == 0 {
                #expect(run.output == expected.output, "\(run.report)")
            } else {
                #expect(
                    run.output.isEmpty && run.errorText.contains(words == ["unpack"] ? "IMAGE" : "/proc"),
                    "\(run.report)")
                #expect(run.status == (words == ["unpack"] ? 64 : 69), "\(run.report)")
            }
            if !place.hasDescriptors { #expect(run.status != 0, "\(run.report)") }
        }
    }

    @Test(
        "doctor names a missing /proc, and distinguishes missing programs from those that cannot be started",
        .enabled(if: Place.possible.contains(.proc), "a sanitizer needs /proc"))
    func doctor() throws {
        let scratch = try scratch()
        let without = try run(["unpack", "doctor"], in: scratch.path, without: .proc)
        #expect(without.status == 69 && without.text.contains("-> mount it: mount -t proc proc /proc"))
        let device = try run(["unpack", "doctor"], in: scratch.path, without: .dev)
        #expect(device.text.contains("ok    mount "), "\(device.report)")
    }

    @Test(
        "The server names a missing /proc",
        .enabled(if: Place.possible.contains(.proc), "a sanitizer needs /proc"))
    func server() throws {
        let scratch = try scratch()
        let run = try run(
            ["unpack-snapshotter", "--address", "/mnt/socket", "--root", "/mnt/store"],
            in: scratch.path,
            without: .proc)
        #expect(run.status == 69 && run.output.isEmpty)
        #expect(run.errorText.hasSuffix("hint: mount it: mount -t proc proc /proc\n"), "\(run.report)")
    }

    /// With closed standard streams, no file of the store may get their descriptors, also if /dev/null is missing.
    @Test("Closed streams, with and without /dev", arguments: [nil, Place.dev])
    func closedStreams(place: Place?) throws {
        let scratch = try scratch()
        let script = "\(place?.rawValue ?? ":"); exec \"$1\" \(Self.image) --root /mnt/store <&- >&- 2>&-"
        let run = try Command.run(
            "unshare", "-m", "sh", "-ec", "mount --bind \"$0\" /mnt; \(script)", scratch.path.string,
            Built.program("unpack").string)
        #expect(run.status == 74)
        let integrity = try Command.run(
            "sqlite3", scratch.path.appending("store/metadata.db").string,
            "PRAGMA integrity_check; SELECT count(*) FROM image"
        ).succeed()
        #expect(integrity.text == "ok\n1\n")
    }

    @Test("Output that cannot be written is an error", arguments: [">/dev/full", ">&-"])
    func output(redirection: String) throws {
        let scratch = try scratch()
        for words in Self.simple
            + Self.others.dropLast().filter({ ["inspect", "ls", "why", "-q", "images"].contains($0[1]) })
        {
            let program = Built.program(words[0]).string
            let run = try Command.run(
                [
                    "unshare", "-m", "sh", "-ec", "mount --bind \"$0\" /mnt; exec \"$@\" \(redirection)",
                    scratch.path.string, program,
                ]
                    + words.dropFirst(),
                environment: ["UNPACK_ROOT": "/mnt/store", "UNPACK_CONFIG": "", "UNPACK_PROGRESS": "none"])
            #expect(run.status == 74, "\(run.report)")
            #expect(run.errorText.contains("cannot write to standard output: "), "\(run.report)")
            #expect(!run.errorText.contains("--root"), "\(run.report)")
        }
    }

    /// ArgumentParser takes text: with its bytes replaced, a path would be another path.
    @Test(
        "Bytes that are not UTF-8 are refused, not replaced",
        arguments: ["argument", "variable"] + (TestEnvironment.canBeOrdinary ? ["home"] : []))
    func otherBytes(place: String) throws {
        let scratch = try scratch()
        let command =
            switch place {
            case "argument": #""$1" "$2" --output "$(printf '%s/o\377' "$0")""#
            case "variable": #"UNPACK_ROOT=$(printf '%s/o\377' "$0") "$1" "$2""#
            default:
                #"unset UNPACK_ROOT; HOME=$(printf '%s/o\377' "$0") setpriv --reuid 4242 --clear-groups "$1" images"#
            }
        let run = try Command.run(
            "sh", "-c", command, scratch.path.string, Built.program("unpack").string,
            scratch.path.appending("image").string)
        #expect(run.status == 64 && run.output.isEmpty, "\(run.report)")
        #expect(
            run.errorText.contains(#"is not UTF-8: '"#) && run.errorText.contains(#"/o\xff'"#),
            "\(run.report)")
        #expect(try Set(Directory(opening: scratch.path).names().map(\.description)) == ["image", "target"])
    }
}
