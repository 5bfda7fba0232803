import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite(
    "Hostile arguments and settings",
    .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct HostileArgumentTests: HostileTextSuite {
    let program: Program
    let folder: FilePath

    init() throws {
        program = try Program()
        folder = try program.scratch.makeDirectory("cwd")
    }

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
                let functions = "skopeo() { printf '%s\\n' \"$@\"; }; unpack() { :; }; gzip() { :; }; "
                let shell = try Command.run("sh", "-ec", functions + hint.dropFirst(6), in: folder).succeed()
                if arguments.count == 1 {
                    #expect(shell.text == "copy\ndocker://\(text)\noci:image:latest\n")
                }
                expectNoCanary(text)
            }
        }
    }
}
