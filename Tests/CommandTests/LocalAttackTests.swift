import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// Attacks of another user in directories in which root runs the program. `docs/threat-model.md` refers to these tests.
@Suite(
    "Attacks by other users", .serialized,
    .enabled(
        if: TestEnvironment.canMountOverlay && TestEnvironment.has("setpriv")
            && TestEnvironment.has("setfacl"),
        "it needs to mount an overlay, setpriv and setfacl"))
struct LocalAttackTests {
    private static let attacker = 4242
    private let program: Program
    private let image: String
    /// A directory with mode 1777, like /tmp.
    private let shared: FilePath

    init() throws {
        program = try Program()
        image = Program.fixtures.appending("busybox").string
        shared = try program.scratch.makeDirectory("shared")
        try Command.run("chmod", "1777", shared.string).succeed()
        try Command.run("chmod", "0755", program.scratch.path.string).succeed()
    }

    /// Runs a script as the attacker, in the shared directory.
    private func attack(_ script: String) throws {
        try Command.run(attacker(script), in: shared).succeed()
    }

    private func attacker(_ script: String) -> [String] {
        [
            "setpriv", "--reuid=\(Self.attacker)", "--regid=\(Self.attacker)", "--clear-groups", "bash",
            "-ec",
            "umask 022; \(script)",
        ]
    }

    /// Runs the program with umask 022.
    private func unpack(_ arguments: [String]) throws -> Command {
        try Command.run(
            ["sh", "-ec", "umask 022; exec \"$@\"", "sh", Program.path.string] + arguments,
            environment: ["UNPACK_ROOT": program.root.string, "UNPACK_CONFIG": ""], timeout: 120)
    }

    private func refused(_ run: Command, _ message: String, _ hint: String? = nil) {
        #expect(run.status == 77 && run.text.isEmpty, "\(run.report)")
        #expect(run.errorText.contains(message), "\(run.report)")
        #expect(run.errorText.contains("\nhint: \(hint ?? "")"), "\(run.report)")
    }

    private func stat(_ format: String, _ path: FilePath) throws -> String {
        try Command.run("stat", "-c", format, path.string).succeed().text.trimmingCharacters(in: .newlines)
    }

    // MARK: Output files

    @Test(
        "A tar never takes the mode of another user's file, and is never written into that file",
        arguments: LinkProtection.possible)
    func tarMode(protection: LinkProtection) throws {
        try attack("echo planted > x.tar; chmod 6777 x.tar; ln x.tar kept")
        let tar = shared.appending("x.tar")
        try protection.during { try unpack([image, "--output", tar.string]).succeed() }
        #expect(try stat("%a %u", tar) == "644 0")
        #expect(try String(contentsOfFile: shared.appending("kept").string, encoding: .utf8) == "planted\n")
    }

    @Test(
        "A tar keeps the permissions of the user's own file, and none of its special bits",
        arguments: [("0600", "600"), ("4755", "755"), ("6777", "777"), ("1640", "640")])
    func ownTarMode(before: String, after: String) throws {
        let tar = shared.appending("own.tar")
        try Command.run("sh", "-ec", "touch \(tar); chmod \(before) \(tar); ln \(tar) \(shared)/kept")
            .succeed()
        try program.run(image, "--output", tar.string).succeed()
        #expect(try stat("%a %u", tar) == "\(after) 0")
        #expect(try stat("%s", shared.appending("kept")) == "0")
    }

    @Test(
        "Nothing is written through a symlink of another user",
        arguments: LinkProtection.possible, ["--output", "--output-dir", "--bundle", "--root"])
    func symlinks(protection: LinkProtection, option: String) throws {
        let victim = try program.scratch.makeDirectory("victim")
        let name = option == "--output" ? "x.tar" : "x"
        try attack("ln -s \(option == "--output" ? "\(victim)/new.tar" : victim.string) \(name)")
        let path = shared.appending(name)
        let run = try protection.during {
            try program.run(image, option == "--output-dir" ? "--output" : option, path.string)
        }
        if option == "--output" {
            #expect(
                run.status == 64 && run.errorText.contains("exists and is not a regular file"),
                "\(run.report)")
        } else {
            refused(run, "'\(path)' is a symbolic link that another user may have made")
        }
        #expect(try Directory(opening: victim).names().isEmpty)
    }

    @Test("A symlink that the user owns is followed")
    func ownSymlinks() throws {
        let elsewhere = try program.scratch.makeDirectory("elsewhere")
        for name in ["root", "tree", "bundle"] {
            try Command.run("ln", "-s", "\(elsewhere)/\(name)", "\(shared)/\(name)").succeed()
            try Command.run("mkdir", "-m", "0755", "\(elsewhere)/\(name)").succeed()
        }
        let line = try program.line(image, "--root", shared.appending("root").string)
        #expect(line.contains("\(elsewhere)/root/overlayfs/"))
        try program.run(image, "--output", shared.appending("tree").string).succeed()
        #expect(try elsewhere.appending("tree/bin/busybox").exists())
        _ = try program.line(image, "--bundle", shared.appending("bundle").string)
        #expect(try elsewhere.appending("bundle/config.json").exists())
    }

    // MARK: The store

    /// A store that root would trust: a chain of the attacker's own files, recorded as verified.
    private func forgeStore() throws -> FilePath {
        let store = shared.appending("store")
        _ = try program.line(image, "--root", store.string)
        try Command.run("sh", "-ec", "echo '#!EVIL' > \(store)/overlayfs/1/fs/evil").succeed()
        try Command.run("chown", "-R", "\(Self.attacker)", store.string).succeed()
        return store
    }

    @Test("A store of another user is never trusted", arguments: LinkProtection.possible)
    func forgedStore(protection: LinkProtection) throws {
        let store = try forgeStore()
        let (root, chain) = (["--root", store.string], try program.line(image))
        #expect(!chain.isEmpty)
        try protection.during {
            for arguments in [
                [image], [image, "--format", "json"], [image, "--rw", "k"], ["images"], ["prune"],
                ["snapshot", "ls"], ["snapshot", "prepare", "k"], ["mount", image, program.target.string],
            ] {
                refused(
                    try program.run(arguments + root),
                    "'\(store)' belongs to another user (uid \(Self.attacker))")
            }
        }
        // verify has the exit statuses of fsck(8).
        #expect(try program.run(["verify"] + root).status == 8)
        let inspected = try program.run(["inspect", image] + root).succeed()
        #expect(!inspected.text.contains("unpacked: yes"))
    }

    @Test(
        "Files of another user in a store are never trusted",
        arguments: [
            "metadata.db", "metadata.db-wal", "metadata.db-shm", "runs", "locks", "overlayfs", "locks/schema",
        ])
    func forgedParts(part: String) throws {
        let line = try program.line(image)
        let path = program.root.appending(part)
        // The write-ahead log exists only while the database is open.
        try Command.run("sh", "-ec", "[ -e \(path) ] || : > \(path); chown \(Self.attacker) \(path)")
            .succeed()
        refused(try program.run(image), "'\(path)' belongs to another user")
        try Command.run(
            "sh", "-ec", "chown 0 \(path); chmod 0666 \(path); [ ! -d \(path) ] || chmod 0777 \(path)"
        ).succeed()
        refused(try program.run(image), "'\(path)' can be changed by other users")
        try Command.run(
            "sh", "-ec", "chmod go-w \(path); mv \(path) \(path)-real; ln -s \(path)-real \(path)"
        ).succeed()
        refused(try program.run(image), "'\(path)' is a symbolic link")
        try Command.run("sh", "-ec", "rm \(path); mv \(path)-real \(path)").succeed()
        #expect(try program.line(image) == line)
    }

    @Test("A root that other users can write to is refused with a hint")
    func writableRoot() throws {
        try Command.run("mkdir", "-m", "0777", program.root.string).succeed()
        refused(
            try program.run(image), "'\(program.root)' can be changed by other users (mode 777)",
            "use another path, or run 'chmod go-w'")
        try Command.run("chmod", "go-w", program.root.string).succeed()
        _ = try program.line(image)
    }

    @Test("The database's files are private to the user, also in an older store")
    func databaseModes() throws {
        try Command.run("sh", "-ec", "umask 022; mkdir \(program.root)").succeed()
        func modes() throws -> Set<String> {
            // An open reader keeps the write-ahead log and its index.
            let script =
                "BEGIN;\nSELECT 1 FROM snapshot WHERE 0;\n.shell stat -c %a \(program.root)/metadata.db*\n"
            let run = try Command.run(
                "sqlite3", program.root.appending("metadata.db").string, input: Array(script.utf8))
            return Set(try run.succeed().text.split(separator: "\n").map(String.init))
        }
        _ = try program.line(image)
        #expect(try modes() == ["600"])
        try Command.run("chmod", "0644", program.root.appending("metadata.db").string).succeed()
        #expect(try modes() == ["644"])
        _ = try program.line(image)
        #expect(try modes() == ["600"])
        let lock = try Command.run(attacker("exec 9<\(program.root)/metadata.db"), in: shared)
        #expect(lock.status != 0, "who can open it can lock it")
    }

    @Test("doctor and -v name directories above the store that other users can rename")
    func ancestors() throws {
        try attack("mkdir workspace")
        let root = shared.appending("workspace/s")
        let doctor = try program.run("doctor", "--root", root.string)
        #expect(doctor.text.contains("'\(shared)/workspace', including the store"), "\(doctor.report)")
        let run = try program.run(image, "--root", root.string, "-v").succeed()
        #expect(run.errorText.contains("other users can rename entries of '\(shared)/workspace'"))
        #expect(try !program.run(image, "-v").succeed().errorText.contains("other users can rename"))
    }

    // MARK: Output directories

    @Test("An output directory of another user becomes root's", arguments: LinkProtection.possible)
    func foreignOutput(protection: LinkProtection) throws {
        try attack("mkdir -m 2777 rootfs; setfacl -m d:u:\(Self.attacker):rwx,u:\(Self.attacker):rwx rootfs")
        let clean = shared.appending("clean")
        try program.run(image, "--output", clean.string).succeed()
        try protection.during { try program.run(image, "--output", "\(shared)/rootfs").succeed() }
        #expect(
            try TreeDump(of: Directory(opening: shared.appending("rootfs")))
                == TreeDump(of: Directory(opening: clean)))
        #expect(try Command.run("getfacl", "-Rsp", "\(shared)/rootfs").succeed().text.isEmpty)
    }

    @Test(
        "Files of another user in an output directory are not mixed with the image",
        arguments: LinkProtection.possible)
    func plantedOutput(protection: LinkProtection) throws {
        try attack("mkdir rootfs; echo planted > rootfs/planted; chmod 0700 rootfs")
        let run = try protection.during { try program.run(image, "--output", "\(shared)/rootfs") }
        #expect(run.status == 64 && run.errorText.contains("is not empty"))
        #expect(try stat("%a %u", shared.appending("rootfs")) == "700 \(Self.attacker)")
    }

    /// The attacker's processes run in the directory from before the program starts, and change it in a loop.
    @Test("No other user changes a directory while it is filled", arguments: LinkProtection.possible)
    func racedOutput(protection: LinkProtection) throws {
        let layers =
            [LayerBuilder(.directory("etc"), .file("etc/shadow", "root"))]
            + (0..<4).map { layer in
                LayerBuilder((0..<200).map { .file("d\(layer)/f\($0)", "\(layer)") })
            }
        let image = try program.image(layers).path.string
        let clean = shared.appending("clean")
        try program.run(image, "--output", clean.string).succeed()
        let expected = try TreeDump(of: Directory(opening: clean))
        try protection.during {
            for round in 0..<20 {
                let rootfs = shared.appending("rootfs-\(round)")
                try attack("mkdir -m 0777 \(rootfs)")
                let race = try RunningCommand(
                    attacker(
                        """
                        set +e; cd \(rootfs); exec 9<.
                        while :; do
                          for d in . /proc/self/fd/9; do
                            mkdir $d/etc; echo evil > $d/etc/shadow; mv $d/.wh..wh.output/etc $d/x; ln -s /tmp $d/d1
                            rm -rf $d/etc $d/x $d/d1
                          done
                        done 2>&-
                        """))
                defer { race.kill() }
                Process.sleep(milliseconds: UInt32(round % 5) * 3)
                let run = try program.run(image, "--output", rootfs.string)
                guard run.status == 0 else {
                    // The directory was not empty when it was checked.
                    #expect(run.status == 64, "\(run.report)")
                    continue
                }
                let tree = try TreeDump(of: Directory(opening: rootfs))
                #expect(tree == expected, "\(tree.difference(from: expected))")
            }
        }
    }

    @Test(
        "A bundle of another user becomes root's, and one whose files a runtime would obey is refused",
        arguments: LinkProtection.possible)
    func foreignBundle(protection: LinkProtection) throws {
        try protection.during {
            try attack("mkdir -m 0777 b; mkdir b/rootfs")
            try unpack([image, "--bundle", "\(shared)/b"]).succeed()
            #expect(try stat("%a %u", shared.appending("b")) == "755 0")
            #expect(try stat("%a %u", shared.appending("b/rootfs")) == "755 0")
            #expect(try stat("%a %u", shared.appending("b/config.json")) == "644 0")

            try attack("mkdir c; echo '{}' > c/config.json")
            refused(
                try program.run(image, "--bundle", "\(shared)/c"),
                "cannot use the bundle: '\(shared)/c/config.json' belongs to another user")
            #expect(try stat("%a %u", shared.appending("c")) == "755 \(Self.attacker)")

            try attack("mkdir -p d/rootfs/bin; echo evil > d/rootfs/bin/sh")
            refused(
                try program.run(image, "--bundle", "\(shared)/d"),
                "cannot use the bundle: '\(shared)/d' belongs to another user")
            try attack("mkdir e; ln -s / e/rootfs")
            #expect(try program.run(image, "--bundle", "\(shared)/e").status != 0)

            // A hard link to a config of root's other bundle.
            try Command.run("sh", "-ec", "umask 022; mkdir mine; echo '{}' > mine/config.json", in: shared)
                .succeed()
            if protection == .off {
                try attack("mkdir linked; ln mine/config.json linked/config.json")
                refused(
                    try program.run(image, "--bundle", "\(shared)/linked"),
                    "'\(shared)/linked/config.json' has another name")
            }

            // The same in a bundle of root.
            try Command.run(
                "sh", "-ec", "umask 022; mkdir -p f/rootfs; touch f/rootfs/sh; chown 4242 f/rootfs",
                in: shared
            ).succeed()
            refused(
                try program.run(image, "--bundle", "\(shared)/f"),
                "cannot use the bundle: '\(shared)/f/rootfs' belongs to another user")
            _ = try program.line(image, "--bundle", "\(shared)/own")
            try Command.run("chmod", "0666", "\(shared)/own/config.json").succeed()
            refused(
                try program.run(image, "--bundle", "\(shared)/own"),
                "'\(shared)/own/config.json' can be changed by other users")
        }
    }

    /// The attacker fills `rootfs` while the bundle is taken over.
    @Test("A bundle that is used has no files of another user", arguments: LinkProtection.possible)
    func racedBundle(protection: LinkProtection) throws {
        var used = 0
        try protection.during {
            for round in 0..<25 {
                let bundle = shared.appending("b\(round)")
                try attack("mkdir -m 0777 \(bundle); mkdir \(bundle)/rootfs")
                let race = try RunningCommand(
                    attacker(
                        "set +e; cd \(bundle)/rootfs; while :; do mkdir evil; rmdir evil; echo '{}' > ../config.json; rm ../config.json; done 2>&-"
                    ))
                defer { race.kill() }
                Process.sleep(milliseconds: UInt32(round % 5) * 2)
                let run = try program.run(image, "--bundle", bundle.string)
                guard run.status == 0 else { continue }
                used += 1
                #expect(try Directory(opening: bundle.appending("rootfs")).names().isEmpty)
                #expect(try stat("%u", bundle.appending("config.json")) == "0")
                #expect(try stat("%s", bundle.appending("config.json")) != "3")
            }
        }
        #expect(used > 0)
    }

    // MARK: Inheritance from directories

    @Test(
        "No default ACL of a directory above the store reaches the image's files",
        arguments: Snapshotter.possible)
    func defaultLists(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let parent = try program.scratch.makeDirectory("parent")
        try Command.run("setfacl", "-m", "d:u:\(Self.attacker):rwx,d:g:\(Self.attacker):rwx", parent.string)
            .succeed()
        let image = try program.image([
            LayerBuilder(.file("etc/shadow", "secret"), .directory("listed"), .symlink("link", to: "etc")),
            LayerBuilder(.file("etc/more", "secret"), .file("implicit/deep/f", "x")),
        ]).path.string
        let mounted = program.target
        for root in ["\(parent)/s", "\(parent)/made"] {
            if root.hasSuffix("made") { try Command.run("mkdir", "-m", "0755", root).succeed() }
            for arguments in [[image], [image, "--rw", "key"]] {
                let line = try program.run(arguments + ["--root", root]).succeed().text
                try Command.run("sh", "-ec", "\(line.dropLast()) \(mounted)").succeed()
                defer { try? unmountWhenFree(mounted) }
                #expect(try Command.run("getfacl", "-Rsp", mounted.string).succeed().text.isEmpty)
                try Command.run("sh", "-ec", "[ \(arguments.count) = 1 ] || echo new > \(mounted)/etc/new")
                    .succeed()
                #expect(try Command.run("getfacl", "-Rsp", mounted.string).succeed().text.isEmpty)
            }
        }
        try program.run(image, "--output", "\(parent)/tree").succeed()
        #expect(try Command.run("getfacl", "-Rsp", "\(parent)/tree").succeed().text.isEmpty)
    }
}
