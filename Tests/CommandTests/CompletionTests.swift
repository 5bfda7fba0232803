import Foundation
import SystemPackage
import TestSupport
import Testing

/// Completion with TAB in each shell.
@Suite("Completion")
struct CompletionTests {
    private let scratch: TemporaryDirectory
    private let folder: FilePath

    init() throws {
        scratch = try TemporaryDirectory()
        folder = try scratch.makeDirectory("here")
        _ = try scratch.makeDirectory("here/images-of-mine")
        try scratch.write("here/archive.tar", [])
        let layout = try ImageBuilder(at: folder.appending("layout"))
        let image = try layout.image([LayerBuilder(.file("f", "x"))])
        try layout.writeIndex([image.named("debian:12"), image.named("debian:13")])
        for shell in ["bash", "zsh", "fish"] {
            let script = try Command.run(Program.path.string, "--generate-completion-script", shell).succeed()
            try scratch.write(shell, script.output)
        }
    }

    /// The words of a command line, the last of which is completed, and candidates that must and must not be offered.
    private static let cases: [(words: [String], offered: [String], not: [String])] = [
        (
            [""], ["inspect", "snapshot", "config", "images-of-mine"],
            ["unpack-image", "sweep-store", "--root"]
        ),
        (["im"], ["images", "images-of-mine"], ["inspect", "archive.tar"]),
        (["--r"], ["--ref", "--root", "--rw"], ["--json", "inspect"]),
        (["archive.tar", "--s"], ["--snapshotter", "--sync"], ["--root"]),
        (
            ["archive.tar", "--snapshotter", ""],
            ["overlayfs", "native", "btrfs", "loop", "erofs", "devmapper", "zfs"],
            ["inspect"]
        ),
        (["archive.tar", "--progress", "p"], ["plain"], ["json", "prune"]),
        (["--root", "/", "--format", "j"], ["json"], ["mount"]),
        (["snapshot", ""], ["prepare", "tree"], ["inspect", "images-of-mine"]),
        (["snapshot", "prepare", "key", "--l"], ["--label", "--log-format"], ["--root"]),
        (["umount", ""], ["images-of-mine"], ["archive.tar", "inspect"]),
        (["mount", "archive.tar", ""], ["images-of-mine"], ["archive.tar"]),
        (["inspect", ""], ["archive.tar", "images-of-mine"], ["mount"]),
        (["images", ""], [], ["archive.tar", "inspect"]),
        (["inspect", "layout:"], ["layout:debian:12", "layout:debian:13"], ["archive.tar"]),
        (["mount", "layout:debian:1"], ["layout:debian:12", "layout:debian:13"], ["images-of-mine"]),
    ]

    private func check(_ shell: String, _ complete: ([String]) throws -> [String]) throws {
        for (words, offered, not) in Self.cases {
            let candidates = Set(try complete(words).map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 })
            #expect(candidates.isSuperset(of: offered), "\(shell), \(words): \(candidates.sorted())")
            #expect(candidates.isDisjoint(with: not), "\(shell), \(words): \(candidates.sorted())")
        }
    }

    private var environment: [String: String] {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        return ["PATH": "\(Program.path.removingLastComponent()):\(path)", "HOME": scratch.path.string]
    }

    @Test("bash completes", .enabled(if: TestEnvironment.has("bash"), "needs bash"))
    func bash() throws {
        let script = scratch.path.appending("bash").string
        try Command.run("bash", "-n", script).succeed()
        try check("bash") { words in
            let ask = #"""
                source "$1"; shift
                COMP_WORDS=(unpack "$@") COMP_CWORD=$#
                _unpack unpack "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
                printf '%s\n' "${COMPREPLY[@]}"
                """#
            return try Command.run(
                ["bash", "-c", ask, "bash", script] + words, environment: environment, in: folder
            ).succeed().text.split(separator: "\n").map(String.init)
        }
        // readline splits an option at the `=`.
        let value = try Command.run(
            "bash", "-c",
            #"source "$0"; COMP_WORDS=(unpack x --sync = n) COMP_CWORD=4; _unpack unpack n =; echo "${COMPREPLY[@]}""#,
            script, environment: environment
        ).succeed()
        #expect(value.text == "none\n")
    }

    @Test("zsh completes", .enabled(if: TestEnvironment.has("zsh"), "needs zsh"))
    func zsh() throws {
        let script = scratch.path.appending("zsh").string
        try Command.run("zsh", "-n", script).succeed()
        // The completion needs an interactive zsh on a terminal of its own. Candidates are recorded in `compadd`.
        let ask = #"""
            zmodload zsh/zpty
            zpty z 'PS1= zsh -f -i'
            zpty -w z "cd $2; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -D; source $1"
            zpty -w z 'compadd() { [[ ${@[(I)-O]} = 0 && ${@[(I)-A]} = 0 && ${@[(I)-D]} = 0 ]] || { builtin compadd "$@"; return }; typeset -a found; builtin compadd -O found "$@"; print -rl -- "<"${^found}">" >>'"$3"'; builtin compadd "$@" }'
            zpty -w z 'zstyle ":completion:*" list-prompt ""; LISTMAX=0; PS1=go""es'
            # Only now zle reads keys, instead of the terminal reading lines.
            zpty -r z text '*goes*'
            # The line is killed after the TAB; when the next command is answered, the completion has run.
            zpty -n -w z "$4"$'\t\x15''echo do""ne'$'\n'
            zpty -r z text '*done*'
            zpty -d z
            """#
        try check("zsh") { words in
            let found = scratch.path.appending("found").string
            try? FileManager.default.removeItem(atPath: found)
            let line = (["unpack"] + words).joined(separator: " ")
            try Command.run(
                ["zsh", "-fc", ask, "zsh", script, folder.string, found, line], environment: environment
            ).succeed()
            let text = (try? String(contentsOfFile: found, encoding: .utf8)) ?? ""
            return text.split(separator: "\n").map { String($0.dropFirst().dropLast()) }
        }
    }

    @Test("fish completes", .enabled(if: TestEnvironment.has("fish"), "needs fish"))
    func fish() throws {
        let script = scratch.path.appending("fish").string
        try Command.run("fish", "-n", script).succeed()
        try check("fish") { words in
            let line = (["unpack"] + words).joined(separator: " ")
            return try Command.run(
                "fish", "-c", "source \(script); complete -C'\(line)'", environment: environment, in: folder
            ).succeed().text.split(separator: "\n").map { String($0.split(separator: "\t")[0]) }
        }
    }

    @Test("A shell without a completion script is refused")
    func unknownShell() throws {
        for arguments in [["ksh"], []] {
            let result = try Command.run(
                [Program.path.string, "--generate-completion-script"] + arguments)
            #expect(result.status == 64 && result.errorText.hasSuffix("hint: there is bash, zsh, fish\n"))
        }
    }

    @Test(
        "bash completes what follows a colon, at which it splits words",
        .enabled(if: TestEnvironment.has("bash"), "needs bash"))
    func colons() throws {
        let ask = #"""
            source "$0"; COMP_LINE='unpack ls layout:debian:1' COMP_POINT=25
            COMP_WORDS=(unpack ls layout : debian : 1) COMP_CWORD=6
            _unpack unpack 1 :; printf '%s\n' "${COMPREPLY[@]}" | sort
            """#
        let result = try Command.run(
            ["bash", "-c", ask, scratch.path.appending("bash").string], environment: environment, in: folder)
        #expect(try result.succeed().text == "12\n13\n")
    }

    @Test(
        "Images and snapshots of the store are completed",
        .enabled(if: TestEnvironment.canApplyLayers, "needs root"))
    func storedNames() throws {
        let program = try Program()
        try program.run("\(folder)/layout:debian:12", "-q", "--rw", "job-1").succeed()
        func complete(_ words: String...) throws -> [String] {
            try program.run(["---complete"] + words).succeed().text.split(separator: "\n").map {
                String($0.prefix { $0 != "\t" })
            }
        }
        #expect(try complete("rm", "de") == ["debian:12"])
        #expect(try complete("mount", "") == ["debian:12", "job-1", ":files"])
        #expect(try complete("snapshot", "rm", "j") == ["job-1"])
        #expect(try complete("snapshot", "stat", "sha").count == 1)
        #expect(try complete("snapshot", "prepare", "") == [])
        #expect(try complete("prune", "--keep", "d") == ["debian:12"])
        #expect(try complete("rm", "--root", "/nowhere", "de") == [])
    }
}
