import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

@Suite("Hostile texts", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct HostileTextTests: HostileTextSuite {
    let program: Program
    let folder: FilePath

    init() throws {
        program = try Program()
        folder = try program.scratch.makeDirectory("cwd")
    }

    // MARK: Keys

    /// Creates a snapshot on an image with `count` layers, under a key that only a client of the service can choose.
    private func snapshot(layers count: Int) throws {
        let layers = (0..<count).map { LayerBuilder(.file(Bytes("f\($0)"))) }
        let image = try program.image(layers, packing: .none).path.string
        let result = try run(["-q", image, "--format", "json"]).succeed().json as? [String: Any]
        try run(["snapshot", "prepare", "k", try #require(result?["chainID"] as? String)]).succeed()
    }

    private func rename(to key: String) throws {
        let hex = key.utf8.map { String(format: "%02x", $0) }.joined()
        _ = try program.rows("UPDATE snapshot SET name = CAST(X'\(hex)' AS TEXT) WHERE kind = 'active'")
    }

    @Test("A key is printed in a line only if a shell reads it as one word that is not an option")
    func keys() throws {
        // More layers than mount(8) takes: the line is `unpack mount … KEY`.
        try snapshot(layers: 130)
        for text in HostileText.all {
            for key in [text, "unpack:" + text] {
                try rename(to: key)
                let refused = try run(["snapshot", "mounts", "--", key])
                #expect(refused.status == 64 && refused.text.isEmpty, "\(refused.report)")
                #expect(refused.errorText.contains("cannot be part of a mount line"), "\(refused.report)")
                #expect(
                    refused.errorText.contains("\nhint: use a key, ") && refused.errorText.contains("--json"))
                refused.expectVisible()
                // The following checks are the same for all texts that only a shell interprets.
                if HostileText.forShells.dropFirst().contains(text) { continue }
                let json = try run(["snapshot", "mounts", "--json", "--", key]).succeed()
                #expect(try (json.json as? [Any])?.count == 1)
                let listed = try run(["snapshot", "ls", "--json"]).succeed()
                listed.expectVisible()
                let names = (try listed.json as? [[String: Any]])?.compactMap { $0["key"] as? String }
                #expect(names?.contains { $0.utf8.elementsEqual(key.utf8) } == true)
                for command in ["ls", "tree", "usage"] {
                    try run(["snapshot", command]).succeed().expectVisible()
                }
            }
        }
        // After `store:` a key is no option, whatever it begins with.
        for key in ["unpack:k8s.io/3/a_b-c.d+e@f,g=h", "-rf", "--root=/x"] {
            try rename(to: key)
            let line = try run(["snapshot", "mounts", "--", key]).succeed().text
            let expected = [
                Program.path.lexicallyNormalized().string, "mount", "--root", program.root.string,
                "store:" + key,
            ]
            #expect(try words(line) == expected)
        }
        expectNoCanary("keys")
    }

    @Test("A line of mount(8) never contains the key")
    func shortLines() throws {
        try snapshot(layers: 2)
        let line = try run(["snapshot", "mounts", "k"]).succeed().text
        for key in HostileText.all {
            try rename(to: key)
            let same = try run(["snapshot", "mounts", "--", key]).succeed()
            #expect(same.text == line)
        }
        #expect(try words(line) == line.dropLast().split(separator: " ").map(String.init))
    }

    @Test("Every command that creates a snapshot refuses a key that is not one word")
    func newKeys() throws {
        for key in HostileText.few + ["-rf"] {
            for arguments in [
                ["snapshot", "prepare", "--", key], ["snapshot", "view", "--", key],
                ["snapshot", "commit", "--", key, "k"], [Self.busybox, "--rw=\(key)"],
            ] {
                let refused = try run(arguments)
                #expect(refused.status == 64 && refused.text.isEmpty, "\(refused.report)")
                refused.expectVisible()
            }
        }
        expectNoCanary("new keys")
    }

    // MARK: Roots and targets

    private static let wordFormats = ["mount", "shell", "fstab", "systemd", "mstack"]

    @Test(
        "A root or a target is printed for a shell only if it is one word", arguments: HostileText.few)
    func places(text: String) throws {
        let place = program.scratch.path.appending(FilePath.Component(text) ?? "x").string
        for format in Self.wordFormats {
            for arguments in [["--root", place, "--target", "/m"], ["--target", place]] {
                let refused = try run([Self.busybox, "-q", "--format", format] + arguments)
                #expect(refused.status == 64 && refused.text.isEmpty, "\(format): \(refused.report)")
                refused.expectVisible()
            }
        }
        for command in ["prepare", "view"] {
            for option in ["--root", "--target"] {
                let refused = try run(["snapshot", command, "k", option, place])
                #expect(refused.status == 64 && refused.text.isEmpty, "\(command): \(refused.report)")
                refused.expectVisible()
            }
        }
        #expect(!FileManager.default.fileExists(atPath: place), "nothing was made for it")
        for format in ["json", "containerd"] {
            let printed = try run([
                Self.busybox, "-q", "--format", format, "--root", place, "--target", place,
            ])
            .succeed()
            printed.expectVisible()
            let document = try printed.json
            let mounts = (document as? [String: Any])?["mounts"] ?? document
            let mount = try #require((mounts as? [[String: Any]])?.first)
            let target = try #require((mount["target"] ?? mount["Target"]) as? String)
            #expect(target.utf8.elementsEqual(place.utf8))
        }
        let paths = try run([Self.busybox, "-q", "--format", "path", "--root", place])
        paths.expectVisible()
        if HostileText.forTerminals.contains(text) {
            #expect(paths.status == 64 && paths.text.isEmpty, "\(paths.report)")
        } else {
            let lines = try paths.succeed().text.split(separator: "\n")
            #expect(lines.count == 5)
            #expect(lines.allSatisfy { FileManager.default.fileExists(atPath: String($0)) })
        }
        expectNoCanary(text)
    }

    // MARK: Images

    /// An image in which every text is the hostile one.
    private func image(_ text: String) throws -> (path: String, layers: Int) {
        let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
        let layers = [
            LayerBuilder(.file("a", "1")), LayerBuilder(.file(Bytes(text)), .symlink("l", to: Bytes(text))),
        ]
        let document: [String: Any] = [
            "os": "linux", "architecture": Platform.host.architecture, "created": text,
            "rootfs": ["type": "layers", "diff_ids": layers.map { "\($0.diffID)" }],
            "history": layers.map { _ in ["created_by": text, "comment": text] },
            "config": ["Labels": [text: text], "Env": [text], "Cmd": [text], "WorkingDir": text],
        ]
        let config = try builder.blob(Array(try JSONSerialization.data(withJSONObject: document)), .ociConfig)
        let manifest = try builder.manifest(config, try layers.map { try builder.layer($0) })
        try builder.writeIndex([manifest.named(text)])
        return (builder.path.string, layers.count)
    }

    @Test("A hostile name of an image is only a name in every format and listing", arguments: HostileText.few)
    func references(text: String) throws {
        let (image, layers) = try image(text)
        let stubs = try program.scratch.makeDirectory("bin")
        for name in ["mount", "unpack"] {
            let stub = try program.scratch.write(
                "bin/\(name)", Array("#!/bin/sh\nprintf '%s\\n' \(name) \"$@\"\n".utf8))
            try Command.run("chmod", "755", stub.string).succeed()
        }
        let target = program.scratch.path.appending("x.mstack").string
        for format in Self.wordFormats + ["json", "containerd", "path"] {
            let printed = try run([image, "-q", "--format", format, "--target", target]).succeed()
            printed.expectVisible()
            switch format {
            case "mount":
                #expect(
                    try words(printed.text) == printed.text.dropLast().split(separator: " ").map(String.init))
            case "shell":
                let said = try Command.run(
                    "sh", "-es", input: printed.output,
                    environment: ["PATH": "\(stubs):\(ProcessInfo.processInfo.environment["PATH"] ?? "")"],
                    in: folder
                ).succeed()
                let words = said.text.split(separator: "\n")
                #expect(
                    words.first == "mount" && words.last == Substring(target) && words.count == 7,
                    "\(said.report)")
            case "mstack": try Command.run("sh", "-es", input: printed.output, in: folder).succeed()
            case "fstab":
                #expect(
                    printed.text.dropLast().split(separator: " ", omittingEmptySubsequences: false).count == 6
                )
            case "systemd":
                let lines = printed.text.dropLast().split(separator: "\n", omittingEmptySubsequences: false)
                let beginnings = [
                    "# /etc/systemd/system/", "[Unit]", "Description=", "RequiresMountsFor=", "", "[Mount]",
                    "What=",
                    "Where=", "Type=", "Options=", "", "[Install]", "WantedBy=",
                ]
                #expect(
                    lines.count == beginnings.count && zip(lines, beginnings).allSatisfy { $0.hasPrefix($1) })
                #expect(!printed.text.replacing("%%", with: "").contains("%"))
            case "json":
                let name =
                    ((try printed.json as? [String: Any])?["image"] as? [String: Any])?["name"] as? String
                #expect(name?.utf8.elementsEqual(text.utf8) == true)
            case "path": #expect(printed.text.split(separator: "\n").count == layers)
            default: break
            }
        }
        for arguments in [
            ["inspect", image], ["inspect", image, "--json"], ["images"], ["images", "--json"],
            ["ls", "-R", image],
            ["ls", "-R", image, "--json"], ["why", image, "l"], ["why", image, "l", "--json"],
            ["diff", image, Self.busybox],
            ["diff", image, Self.busybox, "--json"], ["verify", text], ["verify", "--json", text],
            [image, "-v", "--rw", "k"], [image, "--progress", "json", "-o", "t.tar"],
            ["inspect", "\(image):other"], [image, "--ref", "other", "--log-format", "json"],
            [image, "--platform", "linux/s390x"], ["rm", "--", text],
        ] {
            let command = try run(arguments)
            #expect([0, 66, 69].contains(command.status), "\(command.report)")
            command.expectVisible()
        }
        expectNoCanary(text)
    }
}
