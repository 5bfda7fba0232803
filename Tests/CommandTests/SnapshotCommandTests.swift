import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("unpack snapshot", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct SnapshotCommandTests {
    private let program: Program
    /// The chain IDs of the two layers of the image in the store.
    private let chain: String
    private let below: String

    init() throws {
        program = try Program()
        let image = try program.image([
            LayerBuilder(.file("a", "1"), .file("gone", "1"), .directory("d")),
            LayerBuilder(.file("b", "2"), .file(".wh.gone")),
        ])
        let text = try program.run(image.path.string, "-q", "--format", "json").succeed().output
        let result = try #require(try JSONSerialization.jsonObject(with: Data(text)) as? [String: Any])
        chain = try #require(result["chainID"] as? String)
        let layers = try #require(result["layers"] as? [[String: Any]])
        below = try #require(layers[0]["chainID"] as? String)
    }

    /// Runs a command of `unpack snapshot`, and returns its output without the final newline.
    @discardableResult
    private func snapshot(_ arguments: String...) throws -> String {
        try String(program.run(["snapshot"] + arguments).succeed().text.dropLast())
    }

    private func json(_ arguments: String...) throws -> Any {
        try JSONSerialization.jsonObject(
            with: Data(program.run(["snapshot"] + arguments).succeed().output), options: .fragmentsAllowed)
    }

    private func object(_ arguments: String...) throws -> [String: Any] {
        let output = try program.run(["snapshot"] + arguments).succeed().output
        return try #require(try JSONSerialization.jsonObject(with: Data(output)) as? [String: Any])
    }

    // MARK: A whole session

    @Test("Prepare, mount, write, commit, view, mount, remove: a whole session")
    func story() throws {
        let line = try snapshot("prepare", "work", chain, "--label", "team=blue")
        try program.mounted(line) { directory in
            #expect(try directory.status(of: FileName(literal: "a")) != nil)
            #expect(try directory.status(of: FileName(literal: "gone")) == nil)
            _ = try directory.createFile(FileName(literal: "new"), mode: 0o640)
            try directory.removeFile(FileName(literal: "b"))
        }
        #expect(try snapshot("mounts", "work") == line)
        #expect(try snapshot("commit", "mine", "work", "--label", "stage=1") == "")
        #expect(try program.run("snapshot", "stat", "work").status == 66)
        let info = try object("stat", "mine")
        #expect(info["kind"] as? String == "committed" && info["parent"] as? String == chain)
        // The committed snapshot has the given labels only.
        #expect(info["labels"] as? [String: String] == ["stage": "1"])

        let view = try snapshot("view", "look", "mine")
        let names = try program.mounted(view) { directory in
            let error = #expect(throws: SyscallFailure.self) {
                _ = try directory.createFile(FileName(literal: "no"), mode: 0o600)
            }
            #expect(error?.errno == .readOnlyFileSystem)
            return Set(try directory.names().map(\.description))
        }
        #expect(names == ["a", "d", "new"])
        #expect(try snapshot("usage", "look", "-b").hasSuffix(" 0    0"))

        // The image is removed; its layers stay, because a snapshot is based on them.
        _ = try program.run("rm", try program.rows("SELECT manifest FROM image").trimmed).succeed()
        _ = try program.run("prune").succeed()
        #expect(try program.mounted(view) { Set(try $0.names().map(\.description)) } == names)

        let refused = try program.run("snapshot", "rm", "mine")
        #expect(
            refused.status == 69 && refused.errorText.contains("cannot remove 'mine'"), "\(refused.report)")
        #expect(try snapshot("rm", "look", "mine") == "")
        #expect(try snapshot("ls", "--filter", "kind!=committed") == "KEY PARENT KIND")
        _ = try program.run("prune").succeed()
        #expect(try snapshot("ls") == "KEY PARENT KIND")
        try program.expectNothingLeftOver()
    }

    @Test("The printed line mounts with the target appended, and with --target as it is")
    func targets() throws {
        let script = #"""
            $($0 snapshot prepare one $1) $2
            touch $2/written
            umount $2
            line=$($0 snapshot mounts one --target $2) && $line
            test -e $2/written
            """#
        let result = try Command.run(
            "sh", "-ec", script, Program.path.string, chain, program.target.string,
            environment: ["UNPACK_ROOT": program.root.string])
        try? unmountWhenFree(program.target)
        #expect(result.status == 0, "\(result.report)")
    }

    // MARK: Output

    @Test("The JSON of a snapshot has the names that the other commands use")
    func ownShape() throws {
        try snapshot("prepare", "k", chain, "--label", "b=2")
        let info = try object("stat", "k")
        #expect(Set(info.keys) == ["key", "kind", "parent", "labels", "created", "updated"])
        #expect(info["key"] as? String == "k" && info["kind"] as? String == "active")
        #expect(info["parent"] as? String == chain && info["labels"] as? [String: String] == ["b": "2"])
        #expect(try object("stat", "k", "--json").keys == info.keys)
        let layer = try object("stat", chain)
        #expect(layer["chainID"] as? String == chain && layer["kind"] as? String == "committed")
        let all = try #require(try json("ls", "--json") as? [[String: Any]])
        #expect(all.map { $0["key"] as? String } == [below, chain, "k"])
        let mounts = try #require(try json("mounts", "k", "--json") as? [[String: Any]])
        #expect(Set(mounts[0].keys) == ["type", "source", "target", "options"])
        #expect(try snapshot("mounts", "k", "--json").split(separator: "\n").count == 1)
        let committed = try object("commit", "done", "k", "--json")
        #expect(committed["key"] as? String == "done" && committed["kind"] as? String == "committed")
    }

    @Test("With --format containerd, the JSON of a snapshot is the same as containerd's")
    func statShape() throws {
        try snapshot("prepare", "k", chain, "--label", "b=2=3", "--label", "a/b.c=1")
        let info = try object("stat", "k", "--format", "containerd")
        #expect(Set(info.keys) == ["Kind", "Name", "Parent", "Labels", "Created", "Updated"])
        #expect(info["Kind"] as? String == "Active" && info["Name"] as? String == "k")
        #expect(info["Labels"] as? [String: String] == ["a/b.c": "1", "b": "2=3"])
        let time = #"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"#
        let created = try #require(info["Created"] as? String)
        #expect(created.range(of: time, options: .regularExpression) != nil, "\(created)")
        #expect(info["Updated"] as? String == created)
        // A snapshot without parent and labels has neither field.
        try snapshot("view", "v")
        #expect(
            try Set(object("stat", "v", "--format", "containerd").keys) == [
                "Kind", "Name", "Created", "Updated",
            ])
        let all = try #require(try json("ls", "--format", "containerd") as? [[String: Any]])
        #expect(all.map { $0["Name"] as? String } == [below, chain, "k", "v"])
        #expect(all.map { $0["Kind"] as? String } == ["Committed", "Committed", "Active", "View"])
        #expect(all[2]["Created"] as? String == created)
    }

    /// As `ctr snapshots prepare --mounts` of containerd 2 prints them.
    @Test("With --format containerd, the JSON of mounts is the same as containerd's")
    func mountsShape() throws {
        let made = try #require(try json("prepare", "k", chain, "--format", "containerd") as? [[String: Any]])
        #expect(made.count == 1)
        #expect(Set(made[0].keys) == ["Type", "Source", "Target", "Options"])
        #expect(made[0]["Type"] as? String == "overlay" && made[0]["Source"] as? String == "overlay")
        #expect(made[0]["Target"] as? String == "")
        let options = try #require(made[0]["Options"] as? [String])
        #expect(options.map { $0.split(separator: "=")[0] }.prefix(3) == ["workdir", "upperdir", "lowerdir"])
        #expect(options[1].hasPrefix("upperdir=\(program.root)/overlayfs/"))
        let again = try #require(
            try json("mounts", "k", "--format", "containerd", "--target", program.target.string)
                as? [[String: Any]])
        #expect(again[0]["Target"] as? String == program.target.string)
        #expect(again[0]["Options"] as? [String] == options)
        let bind = try #require(try json("view", "v", below, "--format", "containerd") as? [[String: Any]])
        #expect(bind[0]["Type"] as? String == "bind")
        #expect(bind[0]["Options"] as? [String] == ["ro", "rbind"])
    }

    @Test("ls and tree show parents")
    func listing() throws {
        try snapshot("prepare", "k", chain)
        try snapshot("prepare", "other", below)
        try snapshot("prepare", "empty")
        let ls = try snapshot("ls").split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(
            ls == [
                ["KEY", "PARENT", "KIND"], [below, "Committed"], [chain, below, "Committed"],
                ["k", chain, "Active"], ["other", below, "Active"], ["empty", "Active"],
            ])
        let nodes = try #require(try json("tree", "--json") as? [[String: Any]])
        #expect(nodes.map { $0["key"] as? String } == [below, chain, "k", "other", "empty"])
        #expect(nodes.map { $0["depth"] as? Int } == [0, 1, 2, 1, 0])
        #expect(
            try snapshot("tree") == """
                \(below)
                  \\_ \(chain)
                    \\_ k
                  \\_ other
                empty
                """)
        func names(_ filters: String...) throws -> [String] {
            let all = try #require(
                try JSONSerialization.jsonObject(
                    with: Data(
                        program.run(
                            ["snapshot", "ls", "--json"] + filters.flatMap { ["--filter", $0] }
                        ).succeed().output)) as? [[String: Any]])
            return all.compactMap { $0["key"] as? String }
        }
        try snapshot("label", "k", "containerd.io/x=1")
        #expect(try names("kind==active") == ["k", "other", "empty"])
        #expect(try names("kind==active,parent==\(below)") == ["other"])
        #expect(try names("name==k", "name==empty") == ["k", "empty"])
        #expect(try names(#"labels."containerd.io/x"==1"#) == ["k"])
        #expect(try names("name~=^sha256:") == [below, chain])
        #expect(try names("name==missing") == [])
    }

    @Test("Labels are set, replaced, deleted and shown")
    func labels() throws {
        try snapshot("prepare", "k", "--label", "a=1")
        #expect(try snapshot("label", "k") == "a=1")
        #expect(try snapshot("label", "k", "b=2", "a=3") == "a=3\nb=2")
        #expect(try snapshot("label", "k", "a=") == "b=2")
        #expect(try json("label", "k", "--json") as? [String: String] == ["b": "2"])
        #expect(try snapshot("label", "k", "b=") == "")
        #expect(try program.run("snapshot", "label", "k").succeed().text == "")
        let info = try object("stat", "k")
        #expect(
            info["labels"] as? [String: String] == [:]
                && info["updated"] as? String != info["created"] as? String)
        // Labels of a committed snapshot can be set, and its other labels stay.
        #expect(try snapshot("label", chain, "x=y") == "containerd.io/snapshot.ref=\(chain)\nx=y")
        // A control character does not reach the terminal.
        #expect(try snapshot("label", "k", "e=\u{1B}[31m") == #"e=\x1b[31m"#)
    }

    @Test("usage prints the bytes and inodes of the snapshot without its parents")
    func usage() throws {
        try snapshot("prepare", "k", chain)
        let line = try snapshot("mounts", "k")
        try program.mounted(line) { _ in
            try Data(repeating: 1, count: 3 << 20).write(
                to: URL(fileURLWithPath: program.target.appending("big").string))
        }
        #expect(try snapshot("usage", "k").hasPrefix("KEY SIZE   INODES\nk   3.1 MB "))
        let all = try #require(try json("usage", "--json") as? [[String: Any]])
        #expect(all.map { $0["key"] as? String } == [below, chain, "k"])
        let size = try #require(all[2]["diskUsage"] as? Int)
        #expect((3 << 20...(3 << 20) + 65536).contains(size) && all[2]["inodes"] as? Int == 2)
        #expect(try snapshot("usage", "-b", "k").hasSuffix("\nk   \(size) 2"))
        let du = try Command.run("du", "-s", "-B1", "\(program.root)/overlayfs/3/fs").succeed().text
        #expect(du.hasPrefix("\(size)\t"))
    }

    // MARK: Refusals

    @Test(
        "Misuse gives one line with a hint, and the matching exit status",
        arguments: [
            ("prepare work CHAIN", 64, "there is a snapshot 'work' already", "choose another key*"),
            ("view work", 64, "there is a snapshot 'work' already", "choose another key*"),
            ("prepare new missing", 66, "there is no parent 'missing'", "*'unpack snapshot ls --filter*'"),
            ("prepare new work", 64, "the parent 'work' is not committed", "*'unpack snapshot commit'"),
            ("prepare CHAIN", 64, "'sha256:*' is a chain ID,*", "choose another name"),
            ("prepare a;b", 64, "'a;b' is not a valid snapshot name", "use letters*"),
            ("prepare a:$b", 64, "'a:$b' is not a valid snapshot name", "use letters*"),
            ("prepare new --label x", 64, "'x' is not a label", "write it as KEY=VALUE"),
            ("prepare new --label =x", 64, "'=x' is not a label", "write it as KEY=VALUE"),
            ("commit new missing", 66, "there is no snapshot 'missing'", "*'unpack snapshot ls'"),
            ("commit new look", 69, "the snapshot 'look' is view, not active", "only what*"),
            ("commit new CHAIN", 69, "the snapshot 'sha256:*' is committed, not active", "only what*"),
            ("commit done work", 64, "there is a snapshot 'done' already", "choose another name*"),
            ("commit look work", 64, "there is a snapshot 'look' already", "choose another name*"),
            ("commit CHAIN work", 64, "'sha256:*' is a chain ID,*", "choose another name"),
            ("rm missing", 66, "there is no snapshot 'missing'", "*'unpack snapshot ls'"),
            ("rm CHAIN", 69, "cannot remove 'sha256:*': other snapshots are based on it", "*tree*"),
            ("stat missing", 66, "there is no snapshot 'missing'", "*'unpack snapshot ls'"),
            ("usage missing", 66, "there is no snapshot 'missing'", "*'unpack snapshot ls'"),
            ("mounts missing", 66, "there is no snapshot 'missing'", "*'unpack snapshot ls'"),
            ("mounts done", 69, "the snapshot 'done' is committed", "make a view of it"),
            ("label missing a=b", 66, "there is no snapshot 'missing'", "*'unpack snapshot ls'"),
            ("label work a", 64, "'a' is not a label", "write it as KEY=VALUE"),
            ("stat work --snapshotter aufs", 64, "there is no snapshotter 'aufs'", "there is: overlayfs,*"),
        ] as [(String, Int32, String, String)])
    func misuse(command: String, status: Int32, message: String, hint: String) throws {
        try snapshot("prepare", "work", chain)
        try snapshot("view", "look", chain)
        try snapshot("prepare", "tmp")
        try snapshot("commit", "done", "tmp")
        let before = try snapshot("ls", "--json")
        let words = command.split(separator: " ").map { $0 == "CHAIN" ? chain : String($0) }
        let result = try program.run(["snapshot"] + words)
        #expect(result.status == status, "\(result.report)")
        #expect(result.text == "")
        #expect(result.errorText.matches("unpack: \(message)\nhint: \(hint)\n"), "\(result.report)")
        #expect(try snapshot("ls", "--json") == before)
    }

    @Test(
        "An invalid filter is reported with the position, and a label that is too long with its length",
        arguments: [
            (["ls", "--filter", "kind==="], "the filter 'kind===' is malformed at byte *"),
            (
                ["prepare", "k", "--label", "a=" + String(repeating: "x", count: 4096)],
                "the label 'a' has 4097 bytes*"
            ),
        ])
    func invalid(arguments: [String], message: String) throws {
        let result = try program.run(["snapshot"] + arguments)
        #expect(result.status == 64)
        #expect(result.errorText.matches("unpack: \(message)\n"), "\(result.report)")
    }

    @Test("The top layer of an image cannot be removed without the image")
    func neededByImage() throws {
        let result = try program.run("snapshot", "rm", chain)
        #expect(result.status == 69)
        #expect(
            result.errorText.matches(
                "unpack: cannot remove 'sha256:*': an image needs it\nhint: remove the image with 'unpack rm'\n"
            ))
    }

    @Test("Commands that only read do not create a store", arguments: [true, false])
    func noStore(isJSON: Bool) throws {
        let root = program.scratch.path.appending("nowhere").string
        let json = isJSON ? ["--json"] : []
        for words in [
            ["snapshot", "ls"], ["snapshot", "usage"], ["images"], ["prune"], ["prune", "--dry-run"],
        ] {
            let result = try program.run(words + json + ["--root", root])
            #expect(result.status == 0 && result.errorText == "", "\(result.report)")
            if isJSON {
                #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(result.output)) }
            }
        }
        #expect(try program.run("snapshot", "tree", "--root", root).succeed().text == "")
        for words in [
            ["snapshot", "stat", "x"], ["snapshot", "usage", "x"], ["snapshot", "mounts", "x"],
            ["snapshot", "label", "x"], ["snapshot", "rm", "x"], ["snapshot", "commit", "x", "y"],
            ["snapshot", "prepare", "x", "y"], ["snapshot", "view", "x", "y"], ["rm", "x"],
        ] {
            let result = try program.run(words + ["--root", root])
            #expect(result.status == 66, "\(result.report)")
            #expect(
                result.errorText.hasPrefix("unpack: there is no store in \(root)\nhint: "), "\(result.report)"
            )
        }
        #expect(!FileManager.default.fileExists(atPath: root))
    }

    @Test("Every command has help, and options before a command are reported")
    func help() throws {
        let all = try program.run("snapshot", "--help").succeed().text
        let commands = ["prepare", "view", "commit", "rm", "ls", "tree", "stat", "usage", "mounts", "label"]
        for command in commands {
            #expect(all.contains("  \(command) "))
            let text = try program.run("snapshot", command, "--help").succeed().text
            #expect(text.hasPrefix("usage: unpack snapshot \(command) ") && text.contains("--root"))
        }
        let result = try program.run("--snapshotter", "native", "images")
        #expect(result.status == 64)
        #expect(
            result.errorText
                == "unpack: 'images' is a command, and must come before its options\nhint: unpack images [options]; "
                + "an image of this name is ./images\n")
    }
}

extension String {
    fileprivate var trimmed: String { trimmingCharacters(in: .newlines) }
}
