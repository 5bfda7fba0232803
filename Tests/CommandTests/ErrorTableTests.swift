import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// Produces every situation of `docs/errors.md`, and compares the status, the message and the hint.
@Suite(.enabled(if: TestEnvironment.canBeOrdinary, "it needs root, and user namespaces for ordinary users"))
struct ErrorTableTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let situation: String
        let status: Int32
        let message: String
        let hint: String

        var testDescription: String { situation }

        /// Expects that a run has the status, the message and the hint of the row, and prints nothing to stdout.
        func expect(_ run: Command) {
            #expect(run.status == status, "\(run.report)")
            #expect(run.text.isEmpty, "\(run.report)")
            let lines = run.errorText.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(
                String.init)
            func fits(_ text: String, _ pattern: String) -> Bool {
                text.matches(pattern.replacing("…", with: "*"))
            }
            let message = lines.last { $0.hasPrefix("unpack: ") } ?? ""
            #expect(fits(message, "unpack: " + self.message), "\(run.errorText)")
            let hint = lines.last { $0.hasPrefix("hint: ") } ?? "hint: "
            #expect(fits(hint, "hint: " + self.hint), "\(run.errorText)")
        }
    }

    static let rows = rows(of: "errors.md")

    /// The rows of the table in a page of `docs`.
    static func rows(of page: String) -> [Row] {
        let path = Program.fixtures.appending("../docs/\(page)").lexicallyNormalized()
        let text = (try? String(contentsOfFile: path.string, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").filter { $0.hasPrefix("| ") }.dropFirst().compactMap { line in
            let bar = "\u{1}"
            let cells = line.replacing(#"\|"#, with: bar).dropFirst().dropLast().split(
                separator: "|", omittingEmptySubsequences: false
            ).map { $0.trimmingCharacters(in: .whitespaces).replacing(bar, with: "|") }
            guard cells.count == 4, let status = Int32(cells[1]) else { return nil }
            return Row(situation: cells[0], status: status, message: cells[2], hint: cells[3])
        }
    }

    @Test("The table has at least thirty rows, each once")
    func complete() {
        #expect(Self.rows.count >= 30)
        #expect(Set(Self.rows.map(\.situation)).count == Self.rows.count)
    }

    @Test(
        "Each situation gives the status, the message and the hint of its row",
        arguments: rows.filter(isPossible))
    func row(row: Row) throws {
        let program = try Program()
        let run = try #require(try Self.make(row.situation, with: program))
        row.expect(run)
    }

    private static func isPossible(_ row: Row) -> Bool {
        if row.situation == "no /proc" { return !TestEnvironment.isSanitized }
        return TestEnvironment.canMountErofs || !row.situation.lowercased().contains("erofs")
    }

    // MARK: Situations

    static let busybox = Program.fixtures.appending("busybox").string

    static func tar(
        _ program: Program, _ name: String, _ members: [TarEntry], atMost count: Int = .max
    ) throws -> String {
        try program.scratch.write(name, Array(LayerBuilder(members).tar.prefix(count))).string
    }

    /// A layout of one layer, and that layer's blob.
    static func image(_ program: Program) throws -> (ImageBuilder, Descriptor) {
        try Self.image(program, LayerBuilder(.file("a", "content")))
    }

    private static func image(_ program: Program, _ layer: LayerBuilder) throws -> (ImageBuilder, Descriptor)
    {
        let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
        let blob = try builder.layer(layer)
        try builder.writeIndex([try builder.manifest(try builder.config(.host, [layer.diffID]), [blob])])
        return (builder, blob)
    }

    /// A layout of one image that runs as a user.
    private static func image(
        _ program: Program, as user: String, passwd: String
    ) throws -> ImageBuilder {
        let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
        let layer = LayerBuilder(.directory("etc"), .file("etc/passwd", Bytes(passwd)))
        let config = """
            {"os": "linux", "architecture": "\(Platform.host.architecture)", "config": {"User": "\(user)"},
             "rootfs": {"type": "layers", "diff_ids": ["\(layer.diffID)"]}}
            """
        try builder.writeIndex([
            try builder.manifest(try builder.blob(Array(config.utf8), .ociConfig), [try builder.layer(layer)])
        ])
        return builder
    }

    private static func without(
        _ capability: String, _ program: Program, _ arguments: String
    ) throws -> Command {
        try Command.run("capsh", "--drop=\(capability)", "--", "-c", "\(Program.path) \(arguments)")
    }

    /// Runs the program with a new file system, mounted by a script, as ROOT.
    static func mounted(_ program: Program, _ mount: String, _ arguments: String...) throws -> Command {
        let root = try program.scratch.makeDirectory("fs")
        return try Command.run(
            ["unshare", "-m", "sh", "-ec", "\(mount) \(root); exec \"$@\"", "sh", Program.path.string]
                + arguments
                + ["--root", root.string])
    }

    /// - Returns: nil for an unknown situation.
    private static func make(_ situation: String, with program: Program) throws -> Command? {
        switch situation {
        case "a path that does not exist":
            return try program.run("/no/such/image")
        case "a file that is not an archive":
            return try program.run("/etc/passwd")
        case "a directory that is not a layout":
            return try program.run("/etc")
        case "an archive after oci:":
            return try program.run("oci:" + (try tar(program, "x.tar", [.file("a")])))
        case "a directory after oci-archive:":
            return try program.run("oci-archive:" + busybox)
        case "the name of an image in a registry":
            return try program.run("docker://debian:12")
        case "a truncated archive":
            let members = try image(program).0.members()
            return try program.run(try tar(program, "cut.tar", members, atMost: 2000))
        case "an archive compressed with xz":
            return try program.run(
                try program.scratch.write("x.tar.xz", [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0, 0, 4]).string)
        case "an archive without an image":
            return try program.run(try tar(program, "x.tar", [.file("a")]))
        case "an empty standard input":
            return try program.run("-")
        case "no space for a compressed archive":
            let (builder, _) = try image(program)
            let members = [.file("padding", Bytes.noise(3_000_000))] + (try builder.members())
            let file = try program.scratch.write("x.tar.gz", storedGzip(LayerBuilder(members).tar))
            let folder = try program.scratch.makeDirectory("tmp")
            return try Command.run(
                "unshare", "-m", "sh", "-ec",
                #"mount -t tmpfs -o size=1m tmpfs "$1"; TMPDIR=$1 exec "$0" "$2" --root "$3""#,
                Program.path.string, folder.string, file.string, program.root.string)
        case "a standard input that sends nothing, with --timeout":
            return try Command.run(
                "sh", "-c", #"{ head -c 600 /dev/zero; sleep 4; } | "$0" - --timeout 1s --root "$1""#,
                Program.path.string, program.root.string)
        case "a terminal as standard input":
            // script(1) makes all three streams a terminal, and returns the status of the command.
            return try Command.run(
                "sh", "-c",
                #"script -qec "$0 - --root $1/s >$1/out 2>$1/err" /dev/null; status=$?; cat $1/out; cat $1/err >&2; exit $status"#,
                Program.path.string, program.scratch.path.string)
        case "several images and no selection":
            return try program.run(Program.fixtures.appending("edge").string)
        case "an unknown reference":
            return try program.run(busybox + ":nothing")
        case "an image number that is too large":
            return try program.run(busybox + "@7")
        case "a platform that no image has":
            return try program.run(busybox, "--platform", "linux/s390x")
        case "an invalid platform":
            return try program.run(busybox, "--platform", "linux")
        case "a missing manifest":
            let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
            let missing = try builder.image([LayerBuilder(.file("a"))])
            try builder.removeBlob(missing)
            try builder.writeIndex([missing])
            return try program.run(builder.path.string)
        case "two images, one of them damaged, and no selection":
            let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
            let images = try ["a", "b"].map { try builder.image([LayerBuilder(.file(Bytes($0)))]) }
            try builder.damageBlob(images[1]) { $0[$0.count - 2] ^= 1 }
            try builder.writeIndex(images)
            return try program.run(builder.path.string)
        case "a user that is not in the image's /etc/passwd", "a user whose group is not a number":
            let line = situation.hasSuffix("number") ? "app:x:1:x::/:/bin/sh\n" : "app:x:1:1\n"
            return try program.run(
                try image(program, as: "app", passwd: line).path.string, "--bundle",
                program.scratch.path.appending("b").string)
        case "an invalid digest":
            return try program.run(busybox, "--digest", "sha256:12")
        case "a damaged blob":
            let (builder, blob) = try image(program)
            try builder.damageBlob(blob) { $0[$0.count - 4] ^= 1 }
            return try program.run(builder.path.string)
        case "a missing blob":
            let (builder, blob) = try image(program)
            try builder.removeBlob(blob)
            return try program.run(builder.path.string)
        case "an access control list that names an unknown user":
            let list: Bytes = "user::rw-,user:lisa:r--,group::r--,mask::r--,other::---"
            let layer = LayerBuilder(.file("journal").pax("SCHILY.acl.access", list))
            return try program.run(try image(program, layer).0.path.string)
        case "an image larger than --max-bytes":
            return try program.run(busybox, "--max-bytes", "1000", "--jobs", "1")
        case "not enough space for the layers":
            return try mounted(program, "mount -t tmpfs -o size=1m,mode=0700 tmpfs", busybox)
        case "a read-only ROOT":
            return try mounted(program, "mount -t tmpfs -o ro,mode=0700 tmpfs", busybox)
        case "a ROOT that is a file":
            return try program.run(busybox, "--root", try program.scratch.write("file", []).string)
        case "a file system without extended attributes":
            return try mounted(program, "mount -t ramfs ramfs", busybox, "--max-bytes", "99999999")
        case "a container without privileges":
            return try without("cap_sys_admin", program, "\(busybox) --root \(program.root)")
        case "a file system without types of directory entries (d_type)":
            let system = try LoopFileSystem(type: "ext4", megabytes: 64, options: ["-O", "^filetype"])
            defer { withExtendedLifetime(system) {} }
            return try program.run(busybox, "--root", system.path.appending("s").string)
        case "a setgid file, and root without CAP_FSETID":
            let image = try program.image([LayerBuilder(.file("x").mode(0o2755).owned(0, 8))]).path
            return try without("cap_fsetid", program, "\(image) --root \(program.root)")
        case "no user namespaces":
            let user = try OrdinaryUser(.single, prelude: OrdinaryUser.withoutNamespaces)
            return try user.run("unpack", "busybox")
        case "`unpack mount` as an ordinary user":
            return try OrdinaryUser(.single).run("unpack", "mount", "busybox", "/mnt")
        case "`--snapshotter erofs` as an ordinary user":
            return try OrdinaryUser(.single).run("unpack", "busybox", "--snapshotter", "erofs")
        case "a layer whose EROFS image in the store is damaged, below a new one":
            let layers = ["a", "b"].map { LayerBuilder(.file(Bytes($0), "content")) }
            let lower = try program.image([layers[0]]).path.string
            try program.run("-q", lower, "--snapshotter", "erofs").succeed()
            let file = try File.open(program.root.appending("erofs/1/layer.erofs"), .readWrite)
            try [UInt8](repeating: 0x61, count: 4096).withRawSpan { try file.write($0, at: 0) }
            return try program.run(try program.image(layers).path.string, "--snapshotter", "erofs")
        case "`unpack snapshot commit` of a mounted snapshot, with erofs":
            let line = try program.line(busybox, "-q", "--rw", "job", "--snapshotter", "erofs")
            return try program.mounted(line) { _ in
                try program.run("snapshot", "commit", "name", "job", "--snapshotter", "erofs")
            }
        case "a store that was created in another mode":
            try program.run("-q", busybox).succeed()
            return try Command.run(
                "unshare", "-Ur", Program.path.string, busybox, "--root", program.root.string)
        case "a ROOT that a mount line cannot contain":
            return try program.run(busybox, "--root", "/tmp/a b")
        case "a ROOT with a line break, and --format path":
            return try program.run(busybox, "--format", "path", "--root", "/tmp/a\nb")
        case "an unknown snapshotter":
            return try program.run(busybox, "--snapshotter", "aufs")
        case "`--snapshotter zfs` where no dataset is mounted on ROOT":
            return try program.run(busybox, "--snapshotter", "zfs")
        case "`--snapshotter devmapper` without a pool":
            return try program.run(busybox, "--snapshotter", "devmapper")
        case "a key of a snapshot on another image":
            try program.run(busybox, "--rw", "job").succeed()
            return try program.run(try image(program).0.path.string, "--rw", "job")
        case "a writable snapshot that is already mounted":
            let line = try program.line(busybox, "--rw", "job")
            return try program.mounted(line) { _ in
                let other = try program.scratch.makeDirectory("other")
                return try program.run("mount", busybox, other.string, "--rw", "job")
            }
        case "--format fstab without --target":
            return try program.run(busybox, "--format", "fstab")
        case "more layers than a line of fstab can contain":
            let layers = (0..<130).map { LayerBuilder(.file(Bytes("f\($0)"))) }
            return try program.run(
                "-q", try program.image(layers).path.string, "--format", "fstab", "--target",
                program.target.string)
        case "a store of another user", "a store that other users can write to":
            let mode = situation.hasSuffix("write to") ? "chmod 0777" : "chown 4242"
            try Command.run("sh", "-ec", "mkdir \(program.root); \(mode) \(program.root)").succeed()
            return try program.run(busybox)
        case "a symbolic link of another user":
            try Command.run("sh", "-ec", "ln -s /tmp \(program.root); chown -h 4242 \(program.root)")
                .succeed()
            return try program.run(busybox)
        case "a bundle with a config.json of another user":
            let bundle = try program.scratch.makeDirectory("b")
            try Command.run("sh", "-ec", "touch \(bundle)/config.json; chown 4242 \(bundle)/config.json")
                .succeed()
            return try program.run(busybox, "--bundle", bundle.string)
        case "--target and --bundle":
            return try program.run(busybox, "--target", "/a", "--bundle", "/b")
        case "an --output directory that is not empty":
            return try program.run(busybox, "--output", "/etc")
        case "`unpack umount` of a directory that is not a mount point":
            return try program.run("umount", program.target.string)
        case "`unpack rm` of an image that is not in the store":
            try program.run("-q", busybox).succeed()
            return try program.run("rm", "nothing:1")
        case "a directory that cannot be created":
            return try program.run(busybox, "--bundle", "/proc/x/y")
        case "an empty --root, as from an unset variable in a script":
            return try program.run(busybox, "--root", "")
        default: return try makeMachine(situation, with: program)
        }
    }
}
