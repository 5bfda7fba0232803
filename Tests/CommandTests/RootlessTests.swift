import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

@Suite(
    .enabled(
        if: TestEnvironment.canBeOrdinary,
        "it needs user namespaces for ordinary users, setpriv and newuidmap"))
struct RootlessTests {
    /// A listing of a tree without /dev, because only root can create devices.
    private static let listing = #"find . -path ./dev -prune -o -printf '%y %m %U:%G %s %T@ %p %l\n' | sort"#

    /// The listing of the fixture that root unpacked.
    private func expected() throws -> [Substring] {
        let program = try Program()
        let line = try program.line(Program.fixtures.appending("busybox").string)
        return try program.mounted(line) { _ in
            try Command.run("sh", "-ec", "cd \(program.target); \(Self.listing)").succeed().text.split(
                separator: "\n")
        }
    }

    private func expectSame(_ listed: String, _ ids: OrdinaryUser.IDs) throws {
        let (own, root) = (comparable(listed.split(separator: "\n"), ids), comparable(try expected(), ids))
        let difference = own.difference(from: root).map { "\($0)" }.joined(separator: "\n")
        #expect(own == root, "\(difference)")
    }

    /// Drops owners that a single ID cannot represent, and sizes of directories, which depend on the file system.
    private func comparable(_ lines: [Substring], _ ids: OrdinaryUser.IDs) -> [String] {
        lines.map { line in
            var fields = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
            // A name may contain a newline.
            guard fields.count > 4 else { return String(line) }
            let owner = fields[2].split(separator: ":").compactMap { Int($0) }
            if ids == .single || owner.contains(where: { $0 > 65536 }) { fields[2] = "0:0" }
            if fields[0] == "d" { fields[3] = "" }
            return fields.joined(separator: " ")
        }.sorted()
    }

    @Test(
        "Names of the user's own store are found by the commands that list files",
        arguments: OrdinaryUser.IDs.allCases)
    func storedNames(ids: OrdinaryUser.IDs) throws {
        let user = try OrdinaryUser(ids)
        try user.run("unpack", "-q", "busybox", "--rw", "job-1").succeed()
        let listed = try user.run("unpack", "ls", "store:busybox:1.0", "/etc").succeed().text
        #expect(listed.contains(" passwd\n"))
        #expect(try user.run("unpack", "diff", "store:busybox:1.0", "job-1").succeed().text == "")
    }

    @Test("A program of /usr/sbin runs in the namespace, although users' PATH lacks that directory")
    func systemPrograms() throws {
        let user = try OrdinaryUser(.single)
        try user.run(
            "env", "PATH=\(Program.path.removingLastComponent()):/usr/bin:/bin", "unpack", "run-in-namespace",
            "--",
            "chroot", "/", "/bin/true"
        ).succeed()
        let path = try user.run(
            "env", "PATH=/usr/bin", Program.path.string, "run-in-namespace", "--", "sh", "-c", "echo $PATH")
        #expect(path.text == "/usr/bin:/usr/local/sbin:/usr/sbin:/sbin\n")
    }

    @Test(
        "The printed line mounts the image in the same namespace",
        arguments: OrdinaryUser.IDs.allCases)
    func line(ids: OrdinaryUser.IDs) throws {
        let user = try OrdinaryUser(ids)
        let target = try user.makeDirectory("rootfs")
        let run = try user.run("unpack", "busybox", "--target", target.string).succeed()
        #expect(run.errorText.contains("unpack run-in-namespace -- sh"))
        let line = run.text.dropLast()
        #expect(line.hasPrefix("mount -t overlay overlay -o ro,lowerdir+=\(user.store)/overlayfs/"))
        #expect(line.contains(",userxattr"))
        let listed = try user.inNamespace("\(line); cd \(target); \(Self.listing)").succeed().text
        try expectSame(listed, ids)
        let again = try user.run("unpack", "-q", "busybox", "--target", target.string).succeed()
        #expect(again.text == run.text)
        // One warning per kind, and the same in the JSON.
        let kinds = ["the device cannot be made in a user namespace", "has no ID in this user namespace"]
        for kind in kinds { #expect(run.errorText.ranges(of: kind).count == 1, "\(run.errorText)") }
        let performed = try user.inNamespace(
            "unpack mount -q busybox \(target); cd \(target); \(Self.listing)")
        #expect(performed.text == listed)
        #expect(try user.run("unpack", "verify").succeed().errorText.contains("as recorded"))
    }

    @Test(
        "Owners that cannot be set are stored in user.rootlesscontainers, where umoci finds them",
        arguments: OrdinaryUser.IDs.allCases)
    func owners(ids: OrdinaryUser.IDs) throws {
        let user = try OrdinaryUser(ids)
        let target = try user.makeDirectory("tree")
        let run = try user.run("unpack", "busybox", "--output", target.string).succeed()
        #expect(run.text.isEmpty)
        func owner(_ name: String) throws -> String? {
            let found = try Command.run(
                "getfattr", "--only-values", "-n", "user.rootlesscontainers", "\(target)/opt/owners/\(name)")
            guard found.status == 0, let owner = FileOwner(found.output) else { return nil }
            return "\(owner.uid):\(owner.gid)"
        }
        #expect(try owner("file-3000000-4000000") == "3000000:4000000")
        #expect(try owner("file-1000-100") == (ids == .single ? "1000:100" : nil))
        let listed = try user.inNamespace("cd \(target); \(Self.listing)").succeed().text
        try expectSame(listed, ids)
        try user.inNamespace("rm -rf \(target)").succeed()
    }

    @Test("The image's own values of the attribute for owners are omitted")
    func forged() throws {
        let user = try OrdinaryUser(.single)
        let builder = try ImageBuilder(at: user.home.appending("forged"))
        let forged = Bytes(FileOwner(uid: 7, gid: 7).encoded)
        let layer = LayerBuilder(
            .file("mine", "x").pax("SCHILY.xattr.user.rootlesscontainers", forged),
            .file("theirs", "x").owned(5, 6).pax("SCHILY.xattr.user.rootlesscontainers", forged),
            .file("listed", "x").pax(
                "SCHILY.acl.access", "user::rw-,user:bin:r--:1234,group::r--,mask::r--,other::---"))
        try builder.writeIndex([try builder.image([layer])])
        try Command.run("chown", "-R", "4242:4242", builder.path.string).succeed()
        let target = user.home.appending("tree")
        let run = try user.run("unpack", "forged", "--output", target.string).succeed()
        #expect(run.errorText.contains("it would forge owners here"), "\\(run.errorText)")
        #expect(run.errorText.contains("system.posix_acl_access"), "\\(run.errorText)")
        func attribute(_ name: String) throws -> [UInt8]? {
            let found = try Command.run(
                "getfattr", "--only-values", "-n", "user.rootlesscontainers", target.appending(name).string)
            return found.status == 0 ? found.output : nil
        }
        #expect(try attribute("mine") == nil)
        #expect(try attribute("theirs") == FileOwner(uid: 5, gid: 6).encoded)
    }

    @Test(
        "A writable snapshot keeps written and removed files",
        arguments: OrdinaryUser.IDs.allCases)
    func writable(ids: OrdinaryUser.IDs) throws {
        let user = try OrdinaryUser(ids)
        let target = try user.makeDirectory("rootfs")
        let line = try user.run("unpack", "-q", "busybox", "--rw", "k", "--target", target.string).succeed()
            .text.dropLast()
        try user.inNamespace(
            "\(line); cd \(target); echo new > etc/new; rm bin/cat; rm -rf opt; mkdir opt; touch opt/x"
        ).succeed()
        let look = "ls opt; cat etc/new; ! test -e bin/cat"
        #expect(try user.inNamespace("\(line); cd \(target); \(look)").succeed().text == "x\nnew\n")
        try user.run("unpack", "snapshot", "commit", "c", "k").succeed()
        let view = try user.run("unpack", "snapshot", "view", "v", "c", "--target", target.string).succeed()
            .text.dropLast()
        #expect(try user.inNamespace("\(view); cd \(target); \(look)").succeed().text == "x\nnew\n")
        for command in [["snapshot", "rm", "v"], ["snapshot", "rm", "c"], ["rm", "--wait", "busybox:1.0"]] {
            try user.run(["unpack"] + command).succeed()
        }
        #expect(try user.run("unpack", "snapshot", "ls").succeed().text.split(separator: "\n").count == 1)
    }

    @Test(
        "A store has one mode: an ordinary user cannot use one of root", arguments: [OrdinaryUser.IDs.single])
    func kinds(ids: OrdinaryUser.IDs) throws {
        let user = try OrdinaryUser(ids)
        try user.run("unpack", "-q", "busybox").succeed()
        let program = try Program()
        let foreign = try program.run("images", "--root", user.store.string)
        #expect(foreign.status == 77 && foreign.errorText.contains("belongs to another user"))
        // A store of root has another mode than a run in a user namespace.
        try program.run("-q", Program.fixtures.appending("busybox").string).succeed()
        let refused = try Command.run(
            "unshare", "-Ur", Program.path.string, "images", "--root", program.root.string)
        #expect(refused.status == 69, "\(refused.report)")
        #expect(
            refused.errorText.contains(
                "was made with mode 'root', and this is 'user namespace of one id'\nhint: "))
    }

    @Test("A mount that would end with its namespace at once is refused")
    func mount() throws {
        let user = try OrdinaryUser(.single)
        let target = try user.makeDirectory("rootfs")
        let refused = try user.run("unpack", "mount", "busybox", target.string)
        #expect(refused.status == 77)
        #expect(
            refused.errorText.contains("hint: run it as root, or inside 'unpack run-in-namespace -- sh'"))
    }

    @Test("If namespaces are forbidden, the error says what forbids them and how to change it")
    func forbidden() throws {
        let user = try OrdinaryUser(.subordinate, prelude: OrdinaryUser.withoutNamespaces)
        let refused = try user.run("unpack", "busybox")
        #expect(refused.status == 77 && refused.text.isEmpty, "\(refused.report)")
        #expect(refused.errorText.contains("user.max_user_namespaces is 0\n"), "\(refused.errorText)")
        #expect(refused.errorText.contains("hint: sudo sysctl -w user.max_user_namespaces="))
    }

    @Test(
        "A start that fails for want of descriptors leaves none open",
        .enabled(if: TestEnvironment.has("strace"), "needs strace"))
    func descriptors() throws {
        let user = try OrdinaryUser(.subordinate)
        // A start creates two pipes, and the second one of each fails: with subordinate IDs, then with the own one.
        // LeakSanitizer does not work in a traced process.
        let run = try user.run(
            "env", "ASAN_OPTIONS=detect_leaks=0", "strace", "-o", "trace", "-e", "trace=pipe2,close",
            "-e", "inject=pipe2:error=EMFILE:when=2+2",
            "unpack", "run-in-namespace", "--", "true")
        #expect(run.status == 77 && run.errorText.contains("pipe2: too many open files"), "\(run.report)")
        let trace = try String(contentsOfFile: user.home.appending("trace").string, encoding: .utf8)
        let calls = trace.split(separator: "\n").drop { !$0.hasPrefix("pipe2([") }
        for (index, call) in zip(calls.indices, calls) where call.hasPrefix("pipe2([") {
            let ends = call.dropFirst(7).prefix { $0 != "]" }.split(separator: ", ")
            #expect(ends.count == 2 && calls[index + 1].contains("(INJECTED)"), "\(trace)")
            let closed = calls[(index + 2)...].prefix(2).map { $0.prefix { $0 != " " } }
            #expect(Set(closed) == Set(ends.map { "close(\($0))" }), "\(trace)")
        }
        #expect(calls.count { $0.contains("(INJECTED)") } == 2, "\(trace)")
    }

    @Test("A program runs in the namespace with its arguments, its input and its status")
    func program() throws {
        let user = try OrdinaryUser(.single)
        let run = try user.run(
            "unpack", "run-in-namespace", "--", "sh", "-c", #"id -u; cat; printf '%s|' "$@"; exit 7"#, "sh",
            "a b", "--",
            "-x", input: Array("in\n".utf8))
        #expect(run.status == 7 && run.text == "0\nin\na b|--|-x|", "\(run.report)")
        let missing = try user.run("unpack", "run-in-namespace", "no-such-program")
        #expect(missing.status == 66)
        // Root gets no new namespace.
        let root = try Command.run(
            Program.path.string, "run-in-namespace", "--", "readlink", "/proc/self/ns/user")
        #expect(root.text == (try Command.run("readlink", "/proc/self/ns/user").text))
    }

    @Test("A program has the umask and the limits of the shell, also as root")
    func handedBack() throws {
        let user = try OrdinaryUser(.single)
        let script = "umask 027; ulimit -Sn 100; unpack run-in-namespace -- sh -c 'umask; ulimit -Sn'"
        #expect(try user.run("sh", "-c", script).succeed().text == "0027\n100\n")
        let root = script.replacing("unpack ", with: Program.path.string + " ")
        #expect(try Command.run("sh", "-c", root).succeed().text == "0027\n100\n")
    }

    @Test("A caller that ignores SIGCHLD starts a program that does not")
    func ignoredChildren() throws {
        let user = try OrdinaryUser(.single)
        let run = try user.run(
            "sh", "-c", "trap '' CHLD; exec unpack run-in-namespace -- sh -c 'sleep 0.2; exit 3'")
        #expect(run.status == 3)
        #expect(
            try user.run("sh", "-c", "trap '' CHLD; exec unpack -q busybox").succeed().text.hasPrefix(
                "mount "))
    }

    @Test("A signal reaches the process in the namespace, and leaves a clean store")
    func signals() throws {
        let user = try OrdinaryUser(.single)
        try user.run("mkfifo", "pipe").succeed()
        let running = try user.start(
            "sh", "-c", "unpack -q pipe & p=$!; exec 3>pipe; sleep 0.5; kill -TERM $p; wait $p")
        #expect(try running.finish().status == 143)
        #expect(try user.run("unpack", "-q", "busybox").succeed().text.hasPrefix("mount "))
    }

    @Test("A store on an overlay file system works in a namespace, as inside a container")
    func nested() throws {
        let user = try OrdinaryUser(.single)
        let script = """
            mkdir lower upper work merged rootfs
            mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged
            line=$(unpack -q busybox --root ~/merged/store --target ~/rootfs)
            sh -ec "$line"
            cd rootfs; \(Self.listing)
            """
        guard KernelRelease.current >= KernelRelease(major: 6, minor: 7) else { return }
        let listed = try user.inNamespace("cd ~; \(script)").succeed().text
        try expectSame(listed, .single)
        let refused = try user.inNamespace(
            "cd ~; mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged; "
                + "unpack -q busybox --root ~/merged/store --rw k")
        #expect(refused.status == 69)
    }
}
