import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// Images of other programs, in every format, as files and through pipes.
@Suite(
    .enabled(
        if: TestEnvironment.canMountOverlay && TestEnvironment.has("skopeo")
            && TestEnvironment.has("containerd"),
        "needs overlay mounts, skopeo and containerd"))
struct InputTests {
    private let program: Program
    private static let fixture = "oci:\(Program.fixtures)/busybox-tar"

    init() throws { program = try Program() }

    private func copy(_ source: String = fixture, to target: String) throws -> String {
        let path = program.scratch.path.appending(target.split(separator: ":")[1].description)
        let words = target.split(separator: ":", maxSplits: 2).map(String.init)
        let named = ([words[0], path.string] + words.dropFirst(2)).joined(separator: ":")
        try Command.run("skopeo", "copy", "--quiet", source, named).succeed()
        return path.string
    }

    /// Unpacks an image into a new store, and returns the mounted tree.
    private func tree(_ arguments: [String], input: String? = nil) throws -> TreeDump {
        let root = program.scratch.path.appending("store-\(UInt32.random(in: .min ... .max))")
        var words = [Program.path.string, "--quiet", "--root", root.string] + arguments
        if let input { words = ["sh", "-ec", "\(input) | \"$@\"", "sh"] + words }
        let run = try Command.run(words, timeout: 120).succeed()
        #expect(run.errorText.isEmpty)
        return try program.tree(String(run.text.dropLast()))
    }

    private func expectSame(_ tree: TreeDump, _ what: String) throws {
        let expected = try self.tree([String(Self.fixture.dropFirst(4))])
        #expect(tree == expected, "\(what): \(tree.difference(from: expected))")
    }

    @Test("Archives of skopeo are read by name, by number, compressed and through a pipe")
    func skopeo() throws {
        let oci = try copy(to: "oci-archive:oci.tar:one:1.0")
        let docker = try copy(to: "docker-archive:docker.tar:docker.io/library/one:1.0")
        let directory = try copy(to: "oci:directory:one")
        for (image, arguments) in [
            (oci, []), ("oci-archive:\(oci):one:1.0", []), ("\(oci)@0", []), ("oci-archive:\(oci):@0", []),
            (oci, ["--ref", "one:1.0"]), (docker, []), ("docker-archive:\(docker):one:1.0", []),
            ("docker-archive:\(docker):docker.io/library/one:1.0", []), ("docker-archive:\(docker):@0", []),
            ("oci:\(directory):one", []), ("\(directory)@0", []),
        ] {
            try expectSame(try tree([image] + arguments), "\(image) \(arguments)")
        }
        for archive in [oci, docker] {
            try Command.run("gzip", "-k", archive).succeed()
            try Command.run("zstd", "-q", "-k", archive).succeed()
            for path in ["\(archive).gz", "\(archive).zst"] { try expectSame(try tree([path]), path) }
            try expectSame(try tree(["-"], input: "cat \(archive)"), "\(archive) through a pipe")
            try expectSame(try tree(["-"], input: "cat \(archive).gz"), "\(archive).gz through a pipe")
            let run = try Command.run(
                "sh", "-ec", "\"$0\" -q --root \"$1\" - <\"$2\"", Program.path.string, program.root.string,
                archive)
            #expect(run.status == 0, "\(run.report)")
        }
        try expectSame(
            try tree(["docker-archive:-:one:1.0"], input: "cat \(docker)"), "a name in a pipe")
    }

    @Test(
        "An export of containerd is read: like docker save, it has the documents of both formats")
    func containerd() throws {
        let docker = try copy(to: "docker-archive:docker.tar:docker.io/library/one:1.0")
        let other = try ContainerdDaemon()
        defer { other.stop() }
        _ = try other.ctr(["images", "import", "--no-unpack", docker])
        let name = try #require(
            try other.ctr(["images", "ls", "-q"]).split(separator: "\n").first.map(String.init))
        let exported = program.scratch.path.appending("exported.tar").string
        _ = try other.ctr(["images", "export", exported, name])
        let names = try Command.run("tar", "-tf", exported).succeed().text.split(separator: "\n")
        #expect(names.contains("index.json") && names.contains("manifest.json"))
        for image in [
            exported, "docker-archive:\(exported)", "oci-archive:\(exported)", "\(exported):\(name)",
        ] {
            try expectSame(try tree([image]), image)
        }
        try expectSame(try tree(["-"], input: "cat \(exported)"), "a pipe")
    }

    @Test("A pipe is read to its end, so that its writer succeeds, even if the image is in the store already")
    func wholePipe() throws {
        let docker = try copy(to: "docker-archive:docker.tar:one:1.0")
        for _ in 1...2 {
            let run = try Command.run(
                "bash", "-c",
                #"set -o pipefail; { cat "$2"; head -c 3000000 /dev/zero; } | "$0" -q --root "$1" -; echo $?"#,
                Program.path.string, program.root.string, docker)
            #expect(run.text.hasSuffix("\n0\n"), "\(run.report)")
        }
        // The temporary file is gone.
        let kept = try program.scratch.makeDirectory("tmp")
        try Command.run(
            "sh", "-ec", #"cat "$2" | TMPDIR="$3" "$0" -q --root "$1" -"#, Program.path.string,
            program.root.string,
            docker, kept.string
        ).succeed()
        #expect(try FileManager.default.contentsOfDirectory(atPath: kept.string).isEmpty)
    }

    @Test("A pipe is read to its end by every command that reads an image")
    func wholePipeEverywhere() throws {
        let docker = try copy(to: "docker-archive:docker.tar:one:1.0")
        try program.run("-q", docker).succeed()
        let commands = [
            "inspect -", "ls -", "ls -R --json -", "why - /bin", "diff - \(docker)", "diff \(docker) -",
            "verify --repair -", "- --output tree", "- --output tree.tar",
        ]
        for command in commands {
            let run = try Command.run(
                "bash", "-c",
                #"set -o pipefail; cd "$4"; { cat "$2"; head -c 3000000 /dev/zero; } | "$0" $3 >/dev/null; echo $?"#,
                Program.path.string, program.root.string, docker, command, program.scratch.path.string,
                environment: ["UNPACK_ROOT": program.root.string])
            #expect(run.text == "0\n", "\(command): \(run.report)")
        }
    }

    @Test("Data after the end of an archive is not stored")
    func trailing() throws {
        let docker = try copy(to: "docker-archive:docker.tar:one:1.0")
        let folder = try program.scratch.makeDirectory("small")
        let script =
            #"mount -t tmpfs -o size=16m tmpfs "$3"; { cat "$2"; head -c 100000000 /dev/zero; } | TMPDIR=$3 exec "$0" -q --root "$1" -"#
        let run = try Command.run(
            "unshare", "-m", "sh", "-ec", script, Program.path.string, program.root.string, docker,
            folder.string)
        #expect(run.status == 0, "\(run.report)")
    }

    @Test("A FIFO without a writer is waited for, until a signal arrives")
    func silentFIFO() throws {
        let run = try Command.run(
            "sh", "-c",
            #"mkfifo "$2/f"; "$0" -q --root "$1" "$2/f" & p=$!; sleep 0.5; kill -TERM $p; wait $p"#,
            Program.path.string, program.root.string, program.scratch.path.string)
        #expect(run.status == 143, "\(run.report)")
    }

    @Test("Unpacking, inspect, ls and verify --repair accept archives like directories")
    func everywhere() throws {
        let docker = try copy(to: "docker-archive:docker.tar:one:1.0")
        let plain = try program.run("inspect", String(Self.fixture.dropFirst(4)), "--json").succeed().output
        let archived = try program.run("inspect", docker, "--json").succeed().output
        let chain = "[.images[0].layers[].chainID]"
        #expect(
            try Command.run("jq", chain, input: plain).succeed().text
                == (try Command.run("jq", chain, input: archived).succeed().text))
        #expect(
            try program.run("ls", "-R", docker).succeed().text
                == (try program.run("ls", "-R", String(Self.fixture.dropFirst(4))).succeed().text))
        let line = try program.line(docker)
        let layer = try #require(
            try program.run(docker, "--format", "path").succeed().text.split(separator: "\n").last)
        try Command.run("sh", "-ec", "echo damaged >\(layer)/bin/busybox").succeed()
        #expect(try program.run("verify").status == 4)
        #expect(try program.run("verify", "--repair", "docker-archive:\(docker):one:1.0").status == 1)
        #expect(try program.run("verify").status == 0)
        try expectSame(try program.tree(line), "repaired")
    }
}
