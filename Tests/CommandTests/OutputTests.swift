import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// Every format of the result, used by the program that it is made for.
@Suite(.enabled(if: TestEnvironment.canMountOverlay, "it needs to mount an overlay")) struct OutputTests {
    private let program: Program
    private let image: String
    private static let fixture = Program.fixtures.appending("busybox").string

    init() throws {
        program = try Program()
        image = Self.fixture
    }

    /// Images with one layer, which is a bind mount, and with several.
    private func images() throws -> [String] {
        [image, try program.image([LayerBuilder(.file("only", "one"))]).path.string]
    }

    /// Dumps the tree that is mounted on the target, and unmounts it.
    private func takeTree() throws -> TreeDump {
        defer { try? unmountWhenFree(program.target) }
        return try TreeDump(of: try Directory(opening: program.target))
    }

    @Test("shell: a script for sh -e, whose argument is the target unless --target is given")
    func shell() throws {
        for image in try images() {
            let expected = try program.tree(try program.line(image))
            let script = try program.run(image, "--format", "shell").succeed().output
            try Command.run("sh", "-es", "--", program.target.string, input: script).succeed()
            #expect(try takeTree() == expected)
            let none = try Command.run("sh", "-es", input: script)
            #expect(none.status != 0 && none.errorText.contains("usage: sh SCRIPT DIR"))
            let known = try program.run(image, "--format", "shell", "--target", program.target.string)
                .succeed()
            try Command.run("sh", "-es", input: known.output).succeed()
            #expect(try takeTree() == expected)
        }
    }

    @Test("fstab: a line for mount -a -T")
    func fstab() throws {
        for image in try images() {
            let expected = try program.tree(try program.line(image))
            let line = try program.run(image, "--format", "fstab", "--target", program.target.string)
                .succeed()
            let file = try program.scratch.write("fstab", line.output)
            try Command.run("mount", "-a", "-T", file.string).succeed()
            #expect(try takeTree() == expected)
        }
    }

    @Test("systemd: a unit that systemd-analyze verify accepts, and whose options mount")
    func systemd() throws {
        for image in try images() {
            let text = try program.run(
                image, "--format", "systemd", "--target", program.target.string
            ).succeed().text
            let first = try #require(text.split(separator: "\n").first)
            let name = try #require(first.split(separator: "/").last)
            let unit = try program.scratch.write(String(name), Array(text.utf8))
            try Command.run("chmod", "644", unit.string).succeed()
            let verdict = try Command.run("systemd-analyze", "verify", "--man=no", unit.string)
            // Messages about the machine's other units are ignored.
            let remarks = verdict.errorText.split(separator: "\n").filter { $0.contains(name) }
            #expect(remarks.isEmpty, "\(verdict.report)")
            func value(_ key: String) -> String {
                text.split(separator: "\n").first { $0.hasPrefix(key + "=") }.map {
                    String($0.dropFirst(key.count + 1))
                } ?? ""
            }
            let expected = try program.tree(try program.line(image))
            // The same call as systemd's.
            try Command.run(
                "mount", value("What"), value("Where"), "-t", value("Type"), "-o", value("Options")
            ).succeed()
            #expect(try takeTree() == expected)
        }
    }

    @Test("json: one line for jq, with everything that the mount line has")
    func json() throws {
        let output = try program.run(image, "--format", "json").succeed().output
        #expect(output.filter { $0 == 0x0A }.count == 1)
        let filter = #".mounts[] | "mount -t \(.type) \(.source) -o \(.options | join(","))""#
        let line = try Command.run("jq", "-r", filter, input: output).succeed().text
        #expect(line == (try program.line(image)) + "\n")
        #expect(try program.tree(String(line.dropLast())) == (try program.tree(try program.line(image))))
    }

    @Test("path: the layers' directories, topmost first")
    func path() throws {
        let paths = try program.run(image, "--format", "path").succeed().text.split(separator: "\n")
        #expect(paths.count == 5)
        let expected = try program.tree(try program.line(image))
        let options = "ro," + paths.map { "lowerdir+=" + $0 }.joined(separator: ",")
        #expect(try program.tree("mount -t overlay overlay -o \(options)") == expected)
    }

    @Test("A line that mount(8) would truncate is refused in files, and the script runs unpack mount instead")
    func long() throws {
        let layers = (0..<130).map { LayerBuilder(.file(Bytes("f\($0)"))) }
        let image = try program.image(layers).path.string
        for format in ["fstab", "systemd"] {
            let refused = try program.run(image, "--format", format, "--target", program.target.string)
            #expect(refused.status == 69 && refused.text.isEmpty)
            #expect(refused.errorText.contains("mount(8) passes at most 4095\nhint: "))
        }
        let script = try program.run(image, "--format", "shell").succeed().output
        let folder = try #require(Program.path.removingLastComponent().string as String?)
        let path = "\(folder):\(ProcessInfo.processInfo.environment["PATH"] ?? "")"
        try Command.run(
            "sh", "-es", "--", program.target.string, input: script, environment: ["PATH": path]
        ).succeed()
        #expect(try takeTree().lines.count > 130)
    }

    // MARK: containerd

    @Test("containerd: byte for byte what ctr prints for the same mounts, in the form of its version")
    func containerd() throws {
        let other = try ContainerdDaemon()
        defer { other.stop() }
        for parent in [nil, "a", "b"] {
            for (command, isWritable) in [("prepare", true), ("view", false)]
            where isWritable || parent != nil {
                let key = "\(command)-\(parent ?? "none")"
                let theirs = try other.ctr(
                    ["snapshots", command, "--mounts", key] + (parent.map { [$0] } ?? []))
                let ours = try program.run(
                    ["snapshot", command, "--format", "containerd", key] + (parent.map { [$0] } ?? [])
                )
                .succeed().text
                #expect(try other.translated(theirs, to: program.folder) == ours)
                if isWritable, parent != "b" {
                    let name = parent == nil ? "a" : "b"
                    _ = try other.ctr(
                        ["snapshots", "prepare", "draft-\(name)"] + (parent.map { [$0] } ?? []))
                    _ = try other.ctr(["snapshots", "commit", name, "draft-\(name)"])
                    try program.run(["snapshot", "prepare", "draft-\(name)"] + (parent.map { [$0] } ?? []))
                        .succeed()
                    try program.run("snapshot", "commit", name, "draft-\(name)").succeed()
                }
            }
        }
        let mounts = try program.run(image, "--format", "containerd").succeed().output
        let decoded = try Command.run("jq", "-r", ".[0].Options[0]", input: mounts).succeed().text
        #expect(decoded.hasPrefix("lowerdir=\(program.folder)/"))
    }

    @Test(
        "Options that exclude each other are reported",
        arguments: [
            (["--target", "/a", "--bundle", "/b"], "--target and --bundle exclude"),
            (["--bundle", "/b", "--output", "/c"], "--bundle and --output exclude"),
            (["--output", "/c", "--rw", "k"], "--output makes none"),
            (["--format", "fstab"], "add --target DIR"),
            (["--format", "systemd"], "add --target DIR"), (["--output", ""], "--output is empty"),
            (["-o", "x.tar.gz"], "| gzip >x.tar.gz"),
            (["--annotation-labels", "all"], "add --bundle DIR"),
            (["--bundle", "/b", "--annotation-labels", "some"], "--annotation-labels is safe, all or none"),
        ])
    func excluded(arguments: [String], message: String) throws {
        let refused = try program.run([image] + arguments)
        #expect(refused.status == 64 && refused.text.isEmpty)
        #expect(refused.errorText.contains(message), "\(refused.errorText)")
    }
}
