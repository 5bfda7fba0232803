import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// Bundles for OCI runtimes (`--bundle`).
@Suite(.enabled(if: TestEnvironment.canMountOverlay, "it needs to mount an overlay")) struct BundleOutputTests
{
    private let program: Program
    private let image = Program.fixtures.appending("busybox").string

    init() throws { program = try Program() }

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
    static let onlyCgroup2 =
        "[ ! -d /sys/fs/cgroup/unified ] || { umount -l -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; }"

    private static let runtimes = [("runc", "true"), ("crun --cgroup-manager=disabled", onlyCgroup2)]

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
        let other = try program.run(
            try program.image([LayerBuilder(.file("only", "one"))]).path.string, "--bundle", bundle.string)
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
}
