import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// Texts of a user, an image or a client that a shell, a terminal or another reader of lines would interpret. A shell
/// that executes one creates the file `canary`.
enum HostileText {
    /// One character or construct per text, for fast checks.
    static let forShells = [
        "x;touch${IFS}canary;echo", "$(touch canary)", "`touch canary`", "a b", "a;touch canary",
        "a&touch canary&",
        "a|touch canary", "a>canary", "a'b;touch canary;'", #"a"b"#, "50%n", "#a", "a*", "~", #"a\"#, "{a,b}",
    ]
    static let forTerminals = [
        "\u{1B}[31ma\u{9B}31mb\u{202E}c\u{2066}d\u{7F}e\u{85}f\u{2028}g", "a\nhint: touch canary",
        "a\r\n\ttouch canary\r\nhint: touch canary\n",
    ]
    static let all = forShells + forTerminals
    /// The same in few texts, for slow checks.
    static let few =
        [
            "x;touch${IFS}canary;echo $(touch canary) `touch canary` & touch canary | touch canary > canary #",
            #"~ 50%n* {a,b} "a" '; touch canary; '\"#,
        ] + forTerminals
}

extension Command {
    /// Expects that the output has no character that controls a terminal.
    fileprivate func expectVisible(_ location: SourceLocation = #_sourceLocation) {
        for bytes in [output, errors] {
            guard let text = String(validating: bytes, as: UTF8.self) else {
                Issue.record("not UTF-8: \(report.debugDescription)", sourceLocation: location)
                continue
            }
            let hidden = text.unicodeScalars.filter { !isPrintable($0) && $0 != "\n" && $0 != "\t" }
            #expect(hidden.isEmpty, "\(report.debugDescription)", sourceLocation: location)
            let lines = text.split(separator: "\n").map { $0.drop { $0 == " " || $0 == "\t" } }
            #expect(
                !lines.contains { $0.hasPrefix("hint: touch canary") || $0.hasPrefix("touch canary") },
                "\(report.debugDescription)", sourceLocation: location)
        }
    }

    fileprivate var json: Any {
        get throws { try JSONSerialization.jsonObject(with: Data(output), options: .fragmentsAllowed) }
    }
}

@Suite("Hostile texts", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct HostileTextTests {
    private let program: Program
    /// The working directory, in which a canary would appear.
    private let folder: FilePath
    private static let busybox = Program.fixtures.appending("busybox").string

    init() throws {
        program = try Program()
        folder = try program.scratch.makeDirectory("cwd")
    }

    @discardableResult
    private func run(
        _ arguments: [String], input: [UInt8] = [], environment: [String: String] = [:]
    ) throws -> Command {
        var all = ["UNPACK_ROOT": program.root.string, "UNPACK_CONFIG": ""]
        all.merge(environment) { $1 }
        return try Command.run(
            [Program.path.string] + arguments, input: input, environment: all, in: folder, timeout: 120)
    }

    private func expectNoCanary(_ what: String, _ location: SourceLocation = #_sourceLocation) {
        let names = (try? FileManager.default.subpathsOfDirectory(atPath: program.scratch.path.string)) ?? []
        #expect(
            !names.contains { FilePath($0).lastComponent?.string == "canary" }, "\(what.debugDescription)",
            sourceLocation: location)
    }

    /// The words into which a shell splits a line, in both documented forms: `$(…)` and `sh -ec`.
    private func words(_ line: String) throws -> [String] {
        let file = try program.scratch.write("line", Array(line.utf8))
        let substituted = try Command.run(
            "sh", "-c", #"printf '%s\n' $(cat "$0")"#, file.string, in: folder
        ).succeed().text
        let evaluated = try Command.run(
            "sh", "-ec", #"words() { printf '%s\n' "$@"; }; eval "words $(cat "$0")""#, file.string,
            in: folder
        ).succeed().text
        #expect(substituted == evaluated)
        expectNoCanary(line)
        return substituted.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(
            String.init)
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
        for text in HostileText.all + ["-rf", "--root=/x"] {
            for key in [text, "unpack:" + text] where key != "unpack:-rf" && key != "unpack:--root=/x" {
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
                let names = (try listed.json as? [[String: Any]])?.compactMap { $0["Name"] as? String }
                #expect(names?.contains { $0.utf8.elementsEqual(key.utf8) } == true)
                for command in ["ls", "tree", "usage"] {
                    try run(["snapshot", command]).succeed().expectVisible()
                }
            }
        }
        let key = "unpack:k8s.io/3/a_b-c.d+e@f,g=h"
        try rename(to: key)
        let line = try run(["snapshot", "mounts", key]).succeed().text
        let expected = [
            Program.path.lexicallyNormalized().string, "mount", "--root", program.root.string, key,
        ]
        #expect(try words(line) == expected)
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

    // MARK: Arguments

    /// Every command, with the text as each of its arguments.
    private static func commands(_ text: String) -> [[String]] {
        [
            [text], [busybox, "--ref", text], [busybox, "--digest", text], [busybox, "--platform", text],
            ["docker://\(text)"], [busybox, "--format", text], [busybox, "--snapshotter", text],
            [busybox, "--jobs", text],
            [busybox, "--max-bytes=\(text)"], [busybox, "--sync", text], [busybox, "--progress", text],
            [busybox, "--log-format", text], [busybox, "--rw", text], [busybox, "--annotation-labels", text],
            [busybox, "--bundle", "/proc/\(text)"], [busybox, "--output", "/proc/\(text)/x"],
            [busybox, "-o", "\(text).tar.gz"],
            [busybox, "--target", text], [busybox, text], ["--\(text)"], ["-\(text)"],
            [busybox, "--\(text)=\(text)"],
            ["inspect", text], ["inspect", busybox, text], ["ls", text], ["ls", busybox, text],
            ["why", busybox, text],
            ["diff", text, text], ["diff", busybox, "./\(text)"], ["mount", text, "/nowhere"],
            ["mount", busybox, "/\(text)"],
            ["umount", text], ["images", text], ["rm", text], ["prune", text], ["prune", "--\(text)"],
            ["verify", text],
            ["verify", "--repair", text], ["snapshot", text], ["snapshot", "prepare", text],
            ["snapshot", "prepare", "k", text], ["snapshot", "prepare", "k", "--label", text],
            ["snapshot", "view", "k", text], ["snapshot", "commit", text, "k"],
            ["snapshot", "commit", "k", text],
            ["snapshot", "rm", text], ["snapshot", "stat", text], ["snapshot", "usage", text],
            ["snapshot", "mounts", text], ["snapshot", "label", text, "a=b"],
            ["snapshot", "label", "here", "a=\(text)"],
            ["snapshot", "label", "here"], ["snapshot", "label", "here", "--json"],
            ["snapshot", "label", "here", text],
            ["snapshot", "ls", "--filter", text],
            ["snapshot", "ls", "--filter", "labels.\"\(text)\"==\(text)"],
            ["config", text], ["doctor", text], ["doctor", "--root", text],
            ["doctor", "--json", "--root", text],
            ["run-in-namespace", "/\(text)"], ["help", text], ["help", "snapshot", text], [text, "--help"],
            ["--generate-completion-script", text], ["---complete", text],
            ["---complete", "--format=\(text)"],
        ]
    }

    @Test(
        "An argument never controls a terminal, and never begins a line of output",
        arguments: HostileText.forTerminals)
    func arguments(text: String) throws {
        try run(["-q", Self.busybox]).succeed()
        try run(["snapshot", "prepare", "here"]).succeed()
        for arguments in Self.commands(text) {
            let plain = try run(arguments)
            plain.expectVisible()
            guard !arguments.contains("--log-format"), plain.status != 0 else { continue }
            let json = try run(arguments, environment: ["UNPACK_LOG_FORMAT": "json"])
            json.expectVisible()
            for line in json.errors.split(separator: 0x0A) {
                #expect(throws: Never.self, "\(json.report)") {
                    try JSONSerialization.jsonObject(with: Data(line))
                }
            }
        }
        expectNoCanary(text)
    }

    @Test("An argument that is not UTF-8 is printed as text")
    func invalidText() throws {
        let script = #"""
            t=$(printf 'a\233\377\355\240\200b')
            for a in "$t" "--$t" "--rw $t"; do "$0" $a; "$0" --log-format json $a; "$0" ls "$1" $a; "$0" snapshot mounts $a; done
            "$0" "$1" --root "$PWD/$t"; "$0" "$1" --format path --root "$PWD/$t"; "$0" doctor --root "$PWD/$t"
            """#
        try Command.run(
            "sh", "-c", script, Program.path.string, Self.busybox,
            environment: ["UNPACK_ROOT": program.root.string, "UNPACK_CONFIG": ""], in: folder
        ).expectVisible()
    }

    @Test(
        "Settings in the environment and the file never control a terminal",
        arguments: HostileText.forTerminals)
    func settings(text: String) throws {
        for name in [
            "ROOT", "SNAPSHOTTER", "JOBS", "SYNC", "PROGRESS", "LOG_FORMAT", "MAX_BYTES", "CONFIG",
            "ANNOTATION_LABELS",
        ] {
            for arguments in [
                ["config"], ["config", "--json"], [Self.busybox, "--bundle", "b"],
            ] {
                try run(arguments, environment: ["UNPACK_\(name)": text]).expectVisible()
            }
        }
        for name in ["SOURCE_DATE_EPOCH", "TMPDIR", "TERM"] {
            try run(["-", "-o", "-"], input: [0x1F, 0x8B], environment: [name: text]).expectVisible()
            try run([Self.busybox, "-o", "t.tar"], environment: [name: text]).expectVisible()
        }
        try run(["config"], environment: ["HOME": text, "XDG_DATA_HOME": "/\(text)"]).expectVisible()
        let quoted = String(decoding: try JSONEncoder().encode(text), as: UTF8.self).replacing(
            "\\/", with: "/")
        for line in [
            "root = \(quoted)", "root = \"/\" \(text)", "\(quoted) = 3", "jobs = \(quoted)",
            "sync = \(quoted)", text,
        ] {
            let file = try program.scratch.write("config.toml", Array(line.utf8))
            for arguments in [["config"], ["config", "--json"], ["images"]] {
                try run(arguments, environment: ["UNPACK_CONFIG": file.string, "UNPACK_ROOT": ""])
                    .expectVisible()
            }
        }
    }

    @Test("A character that controls a terminal is escaped in JSON, and the value is unchanged")
    func json() throws {
        let text = "a\u{9B}b\u{202E}c\u{2066}d\u{7F}e\u{E0001}é\u{1F600}\"\\\n"
        try run(["snapshot", "prepare", "k", "--label", "x=\(text)"]).succeed()
        let printed = try run(["snapshot", "label", "k", "--json"]).succeed()
        #expect(printed.text.contains(#"a\u009bb\u202ec\u2066d\u007fe\udb40\udc01é"#), "\(printed.text)")
        let value = try #require((try printed.json as? [String: String])?["x"])
        #expect(value.utf8.elementsEqual(text.utf8))
    }

    @Test("A shell runs the command in a hint with the intended words")
    func hints() throws {
        for text in HostileText.forShells {
            for arguments in [["docker://\(text)"], [Self.busybox, "-o", "\(text).tar.gz"]] {
                let refused = try run(arguments)
                #expect(refused.status == 64, "\(refused.report)")
                let hint = try #require(
                    refused.errorText.split(separator: "\n").last { $0.hasPrefix("hint: ") })
                let stubs = "skopeo() { printf '%s\\n' \"$@\"; }; unpack() { :; }; gzip() { :; }; "
                let shell = try Command.run("sh", "-ec", stubs + hint.dropFirst(6), in: folder).succeed()
                if arguments.count == 1 {
                    #expect(shell.text == "copy\ndocker://\(text)\noci:image:latest\n")
                }
                expectNoCanary(text)
            }
        }
    }
}
