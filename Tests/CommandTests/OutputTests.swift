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
                    ["snapshot", command, "--json", key] + (parent.map { [$0] } ?? [])
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

    // MARK: Bundles

    @Test(
        "runc and crun run a bundle, read-write, with the image's command, environment and working directory")
    func bundle() throws {
        let bundle = program.scratch.path.appending("bundle")
        let line = try program.line(image, "--bundle", bundle.string)
        #expect(line.hasSuffix(" \(bundle)/rootfs"))
        // The second run gives the same line and uses the same snapshot.
        #expect(try program.line(image, "--bundle", bundle.string) == line)
        try Command.run("sh", "-ec", line).succeed()
        defer { try? unmountWhenFree(bundle.appending("rootfs")) }
        for (runtime, prelude) in Self.runtimes {
            let run = try Command.run(
                "unshare", "-m", "sh", "-ec",
                "\(prelude); exec \(runtime) run --bundle \(bundle) t-\(UInt32.random(in: .min ... .max))")
            #expect(run.status == 0 && run.text == "hello world\n", "\(run.report)")
        }
    }

    /// If both cgroup hierarchies are mounted, crun must see only the second one.
    private static let runtimes = [
        ("runc", "true"),
        (
            "crun --cgroup-manager=disabled",
            "[ ! -d /sys/fs/cgroup/unified ] || { umount -l -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; }"
        ),
    ]

    @Test("An image whose user does not exist gives no bundle, and leaves no snapshot")
    func missingUser() throws {
        let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
        let layer = LayerBuilder(.directory("etc"), .file("etc/passwd", "root:x:0:0::/:/bin/sh\n"))
        let config = try builder.blob(
            Array(
                #"{"os": "linux", "architecture": "\#(Platform.host.architecture)", "config": {"User": "app"}, "rootfs": {"type": "layers", "diff_ids": ["\#(layer.diffID)"]}}"#
                    .utf8), .ociConfig)
        try builder.writeIndex([try builder.manifest(config, [try builder.layer(layer)])])
        let bundle = program.scratch.path.appending("bundle")
        let refused = try program.run(builder.path.string, "--bundle", bundle.string)
        #expect(refused.status == 65 && refused.text.isEmpty)
        #expect(refused.errorText.contains("'app', and its /etc/passwd has no such user\nhint: "))
        #expect(try program.rows("SELECT count(*) FROM snapshot WHERE kind = 'active'") == "0\n")
        #expect(try !FileManager.default.contentsOfDirectory(atPath: bundle.string).contains("config.json"))
    }

    @Test("Two bundles never share a snapshot, even if their paths are similar")
    func keys() throws {
        var keys = Set<String>()
        let paths = ["a-b/c", "a/b-c", "a/b/c", "a_/-b", "a/__b", "a_-b"]
        for path in paths {
            let bundle = program.scratch.path.appending(path)
            let line = try program.line(image, "--bundle", bundle.string)
            keys.insert(String(try #require(line.split(separator: ",").first)))
        }
        #expect(keys.count == paths.count)
    }

    @Test("A changed config.json is kept, and a bundle of another image is refused")
    func keptConfig() throws {
        let bundle = program.scratch.path.appending("bundle")
        _ = try program.line(image, "--bundle", bundle.string)
        let config = bundle.appending("config.json").string
        try Data("{}".utf8).write(to: URL(fileURLWithPath: config))
        let again = try program.run(image, "--bundle", bundle.string).succeed()
        #expect(again.errorText.contains("config.json is kept"))
        #expect(try Data(contentsOf: URL(fileURLWithPath: config)) == Data("{}".utf8))
        let other = try program.run(try images()[1], "--bundle", bundle.string)
        #expect(other.status == 64)
        #expect(other.errorText.contains("the snapshot 'bundle-"))
    }

    /// An image with these labels.
    private func labelled(_ labels: [String: String]) throws -> String {
        let builder = try ImageBuilder(at: program.scratch.path.appending("labelled"))
        let layer = LayerBuilder(.directory("etc"), .file("etc/passwd", "root:x:0:0::/:/bin/sh\n"))
        let document: [String: Any] = [
            "os": "linux", "architecture": Platform.host.architecture, "config": ["Labels": labels],
            "rootfs": ["type": "layers", "diff_ids": ["\(layer.diffID)"]],
        ]
        let config = try builder.blob(Array(try JSONSerialization.data(withJSONObject: document)), .ociConfig)
        try builder.writeIndex([try builder.manifest(config, [try builder.layer(layer)])])
        return builder.path.string
    }

    @Test(
        "Labels that a runtime acts on do not become annotations by default, and a warning names them",
        arguments: [
            ([], [:], ["maintainer", "org.opencontainers.image.title"]),
            (["--annotation-labels", "all"], [:], nil),
            ([], ["UNPACK_ANNOTATION_LABELS": "all"], nil), (["--annotation-labels", "none"], [:], []),
            (
                ["--annotation-labels", "safe"], ["UNPACK_ANNOTATION_LABELS": "all"],
                ["maintainer", "org.opencontainers.image.title"]
            ),
        ] as [([String], [String: String], [String]?)])
    func labels(options: [String], environment: [String: String], kept: [String]?) throws {
        let labels = [
            "maintainer": "me", "org.opencontainers.image.title": "t", "run.oci.hooks.stdout": "/etc/passwd",
            "org.systemd.property.ExecStopPost": "x", "run.oci.\u{1B}[31m": "x",
            "cdi.k8s.io/x": "vendor.com/gpu=all",
        ]
        let bundle = program.scratch.path.appending("bundle")
        let run = try Command.run(
            [Program.path.string, try labelled(labels), "--bundle", bundle.string] + options,
            environment: ["UNPACK_ROOT": program.root.string, "UNPACK_CONFIG": ""].merging(environment) { $1 }
        ).succeed()
        let config = try Data(contentsOf: URL(fileURLWithPath: bundle.appending("config.json").string))
        let document = try #require(try JSONSerialization.jsonObject(with: config) as? [String: Any])
        let annotations = try #require(document["annotations"] as? [String: String])
        let expected = kept ?? Array(labels.keys)
        #expect(Set(annotations.keys).intersection(labels.keys) == Set(expected))
        let warnings = run.errorText.split(separator: "\n").filter { $0.hasPrefix("unpack: warning: ") }
        let isWarned = expected.count == 2
        #expect(warnings.count == (isWarned ? 1 : 0), "\(run.errorText)")
        if isWarned {
            let warning = try #require(warnings.first)
            for name in [
                "run.oci.hooks.stdout", "org.systemd.property.ExecStopPost", #"run.oci.\x1b[31m"#,
                "cdi.k8s.io/x",
            ] {
                #expect(warning.contains("'\(name)'"), "\(warning)")
            }
            #expect(warning.hasSuffix(" (--annotation-labels all keeps them)"))
        }
    }

    @Test("A warning names a limited number of labels, and --quiet prints none")
    func manyLabels() throws {
        let labels = Dictionary(
            uniqueKeysWithValues: (0..<50).map { ("run.oci.\($0)" + String(repeating: "x", count: 900), "") })
        let image = try labelled(labels)
        let bundle = program.scratch.path.appending("b").string
        #expect(try program.run("-q", image, "--bundle", bundle).succeed().errorText.isEmpty)
        let run = try program.run(image, "--bundle", bundle + "2").succeed()
        #expect(
            run.errorText.contains(" and 40 more ") && run.errorText.utf8.count < 2000, "\(run.errorText)")
    }

    // MARK: Plain directories

    @Test("--output: one plain tree, the same as the mounted one, and no store")
    func output() throws {
        for image in try images() {
            let expected = try program.tree(try program.line(image))
            let folder = program.scratch.path.appending("tree-\(UInt32.random(in: .min ... .max))")
            let other = program.scratch.path.appending("no-store")
            let run = try program.run(image, "--output", folder.string, "--root", other.string).succeed()
            #expect(run.text.isEmpty)
            let tree = try TreeDump(of: try Directory(opening: folder))
            #expect(tree == expected, "\(tree.difference(from: expected))")
            #expect(!FileManager.default.fileExists(atPath: other.string))
            let again = try program.run(image, "--output", folder.string)
            #expect(again.status == 64 && again.errorText.contains("is not empty"))
        }
    }

    @Test("--output leaves nothing of a damaged image, and keeps the directory that was there before")
    func damagedOutput() throws {
        let layer = LayerBuilder(.file("c", Bytes.noise(100_000)))
        let builder = try program.image([LayerBuilder(.file("a")), layer])
        let size = layer.tar.count
        let blob = try #require(
            try FileManager.default.contentsOfDirectory(atPath: builder.path.appending("blobs/sha256").string)
                .first {
                    let path = builder.path.appending("blobs/sha256/\($0)").string
                    return try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0 > size
                        / 2
                })
        let url = URL(fileURLWithPath: builder.path.appending("blobs/sha256/\(blob)").string)
        var data = try Data(contentsOf: url)
        data[data.count / 2] ^= 1
        try data.write(to: url)
        let folder = program.scratch.path.appending("tree")
        let failed = try program.run(builder.path.string, "--output", folder.string)
        #expect(failed.status == 65)
        #expect(!FileManager.default.fileExists(atPath: folder.string))
        let present = try program.scratch.makeDirectory("present")
        #expect(try program.run(builder.path.string, "--output", present.string).status == 65)
        #expect(try FileManager.default.contentsOfDirectory(atPath: present.string).isEmpty)
    }

    @Test(
        "--output FILE.tar and -: extracted as root, it is the mounted tree, and its bytes are the same every time"
    )
    func tar() throws {
        for image in try images() {
            let expected = try program.tree(try program.line(image))
            let file = program.scratch.path.appending("image.tar")
            let other = program.scratch.path.appending("no-store")
            #expect(try program.run(image, "-o", file.string, "--root", other.string).succeed().text.isEmpty)
            #expect(!FileManager.default.fileExists(atPath: other.string))
            let folder = try program.scratch.makeDirectory("x-\(UInt32.random(in: .min ... .max))")
            try Command.run(
                "tar", "--xattrs", "--xattrs-include=*", "--acls", "--same-owner",
                "--delay-directory-restore", "-xpf",
                file.string,
                in: folder
            ).succeed()
            let tree = try TreeDump(of: try Directory(opening: folder))
            #expect(tree == expected, "\(tree.difference(from: expected))")
            let stream = try program.run("-q", image, "--output", "-", "--jobs", "2").succeed().output
            #expect(stream == Array(try Data(contentsOf: URL(fileURLWithPath: file.string))))
            try FileManager.default.removeItem(atPath: file.string)
        }
    }

    @Test("A tar that cannot be finished does not replace a file, and leaves nothing")
    func cutTar() throws {
        let layer = LayerBuilder(.file("c", Bytes.noise(100_000)))
        let builder = try ImageBuilder(at: program.scratch.path.appending("damaged"))
        let blob = try builder.layer(layer)
        try builder.writeIndex([try builder.manifest(try builder.config(.host, [layer.diffID]), [blob])])
        try builder.damageBlob(blob) { $0[$0.count / 2] ^= 1 }
        let folder = try program.scratch.makeDirectory("out")
        let file = try program.scratch.write("out/image.tar", Array("precious".utf8))
        #expect(try program.run(builder.path.string, "-o", file.string).status == 65)
        #expect(try Data(contentsOf: URL(fileURLWithPath: file.string)) == Data("precious".utf8))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.string) == ["image.tar"])
        let piped = try Command.run("sh", "-c", "\(Program.path) -q \(image) -o - | head -c 1000 | wc -c")
        #expect(piped.text == "1000\n")
    }

    @Test(
        "An ordinary user gets every owner and device into a tar", .enabled(if: TestEnvironment.canBeOrdinary)
    )
    func ordinaryTar() throws {
        let user = try OrdinaryUser(.single, prelude: OrdinaryUser.withoutNamespaces)
        let stream = try user.run("unpack", "-q", "busybox", "-o", "-").succeed().output
        #expect(stream == (try program.run("-q", image, "-o", "-").succeed().output))
    }

    @Test("SOURCE_DATE_EPOCH is the latest time in a tar")
    func epoch() throws {
        let run = try Command.run(
            "sh", "-ec", "\(Program.path) -q \(image) -o - | tar --utc -tv",
            environment: ["SOURCE_DATE_EPOCH": "86400"])
        let days = Set(
            run.text.split(separator: "\n").compactMap { $0.split(separator: " ").dropFirst(3).first })
        // Older times are kept.
        #expect(days == ["1970-01-02", "1970-01-01", "1969-12-31"], "\(days)")
        let wrong = try Command.run(
            Program.path.string, image, "-o", "-", environment: ["SOURCE_DATE_EPOCH": "yesterday"])
        #expect(wrong.status == 64 && wrong.errorText.contains("hint: "))
    }

    /// Runs a script in which `slow` writes an image slowly.
    private func slowly(_ script: String) throws -> Command {
        // The layer is last, so that it is applied while it arrives.
        let members = try program.image([LayerBuilder(.file("a", Bytes.noise(3_000_000)))]).members().sorted {
            $0.contents.array.count < $1.contents.array.count
        }
        let tar = try program.scratch.write("slow.tar", LayerBuilder(members).tar).string
        return try Command.run(
            "bash", "-c",
            "slow() { head -c 2000000 \(tar); sleep 2; tail -c +2000001 \(tar); }; U=\(Program.path); \(script)",
            in: program.scratch.path)
    }

    @Test("A signal that comes twice, as from timeout(1), leaves nothing half-done")
    func twice() throws {
        let run = try slowly("slow | timeout 1 $U -q --output D -; echo ${PIPESTATUS[1]}; ls -A")
        #expect(run.text.hasPrefix("124\n") && !run.text.contains("\nD\n"), "\(run.report)")
        let tar = try slowly("slow | timeout 1 $U -q --output x.tar -; ls -A")
        #expect(!tar.text.contains(".unpack-") && !tar.text.contains("x.tar"), "\(tar.report)")
    }

    @Test(
        "Files that another process adds to the directory stay, and of two runs into one directory one fails")
    func notAlone() throws {
        let kept = try slowly(
            "mkdir D; (sleep 1; echo mine >D/a) & slow | $U -q --output D -; echo $?; wait; ls -A D; cat D/a")
        #expect(kept.text == "74\na\nmine\n", "\(kept.report)")
        let image = try program.image([LayerBuilder(.file("b", Bytes.noise(30_000_000)))]).path
        let both = try slowly(
            "mkdir E; $U -q \(image) -o E & first=$!; $U -q \(image) -o E; second=$?; wait $first; echo $(($? == 0)) $((second == 0)); ls -A E"
        )
        #expect(["1 0\nb\n", "0 1\nb\n"].contains(both.text), "\(both.report)")
    }

    @Test("Output files have the modes of the umask, and only regular files are replaced")
    func modes() throws {
        let run = try slowly(
            "umask 077; $U -q \(image) -o m.tar; $U -q \(image) -o d/sub; stat -c %a m.tar d; umask 022; $U -q \(image) -o m.tar; stat -c %a m.tar; mkfifo p.tar; $U -q \(image) -o p.tar; echo $?; ln -s m.tar l.tar; echo precious >v; ln -s v w.tar; $U -q \(image) -o w.tar; echo $?; cat v"
        )
        #expect(run.text == "600\n700\n600\n64\n64\nprecious\n", "\(run.report)")
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
