import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

/// User ID of another user.
private let other: UInt32 = 4242

@Suite("Ownership", .enabled(if: geteuid() == 0, "needs root to give files to other users"))
struct OwnershipTests {
    private let temporary: TemporaryDirectory
    private let directory: Directory

    init() throws {
        temporary = try TemporaryDirectory()
        directory = try Directory(opening: temporary.path)
    }

    private func run(_ script: String) throws {
        try Command.run("sh", "-ec", "umask 022; \(script)", in: temporary.path).succeed()
    }

    private func failure(_ body: () throws -> Void) -> OwnershipFailure? {
        do {
            try body()
            return nil
        } catch {
            return error as? OwnershipFailure
        }
    }

    @Test("A directory is accepted only if the user owns it and no other user can write to it")
    func directories() throws {
        try run(
            """
            mkdir own foreign group world named; touch file; ln -s own link
            chown 4242 foreign; chmod 0775 group; chmod 1777 world; setfacl -m u:4242:rwx named
            """)
        func open(_ name: String) -> OwnershipFailure? {
            let path = temporary.path.appending(name)
            let byPath = failure { _ = try Directory.openingOwn(path) }
            let byName = failure { _ = try directory.ensureOwnDirectory(name, in: temporary.path) }
            #expect(byPath == byName)
            return byPath
        }
        let path = temporary.path
        #expect(open("own") == nil)
        #expect(open("new") == nil)
        #expect(open("foreign") == .otherOwner(path: "\(path)/foreign", owner: other))
        #expect(open("group") == .writableByOthers(path: "\(path)/group", mode: 0o775))
        #expect(open("world") == .writableByOthers(path: "\(path)/world", mode: 0o1777))
        #expect(open("named") == .writableByOthers(path: "\(path)/named", mode: 0o775))
        #expect(open("link") == .symlink(path: "\(path)/link"))
        #expect(open("file") == .wrongType(path: "\(path)/file", expected: "a directory"))
    }

    @Test("A regular file is accepted only if the user owns it and no other user can write to it")
    func files() throws {
        try run(
            """
            touch own foreign group linked; ln -s own link; mkfifo fifo; mkdir dir; ln linked name
            chown 4242 foreign; chmod 0660 group
            """)
        func open(_ name: String) -> OwnershipFailure? {
            failure { _ = try directory.checkOwnFile(FileName(literal: name), in: temporary.path) }
        }
        let path = temporary.path
        #expect(open("own") == nil)
        #expect(try !directory.checkOwnFile(FileName(literal: "missing"), in: path))
        #expect(open("linked") == .hardLink(path: "\(path)/linked"))
        #expect(open("foreign") == .otherOwner(path: "\(path)/foreign", owner: other))
        #expect(open("group") == .writableByOthers(path: "\(path)/group", mode: 0o660))
        #expect(open("link") == .symlink(path: "\(path)/link"))
        for name in ["fifo", "dir"] {
            #expect(open(name) == .wrongType(path: "\(path)/\(name)", expected: "a regular file"))
        }
    }

    @Test("Exclusive access locks out the previous owner, even with an old descriptor")
    func takesOver() throws {
        try run(
            """
            mkdir d; chown 4242:4242 d; chmod 2777 d; setfacl -m u:4242:rwx,d:u:4242:rwx d
            """)
        let taken = try directory.open(FileName(literal: "d"))
        let path = temporary.path.appending("d")
        // The other user has the directory open, and as its working directory, from before.
        let attack = try RunningCommand(
            [
                "setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "bash", "-c",
                """
                exec 9<.; touch begun; while [ -e begun ]; do sleep 0.01; done
                touch in-folder /proc/self/fd/9/by-descriptor; mkdir x; chmod 0777 .; ls
                """,
            ], in: path)
        let begun = FileName(literal: "begun")
        while try taken.status(of: begun) == nil { Process.sleep(milliseconds: 5) }
        let access = try taken.takeExclusiveAccess()
        try taken.removeFile(begun)
        let ended = try attack.finish()
        #expect(ended.status != 0 && ended.text.isEmpty)
        #expect(try taken.names().isEmpty)
        let status = try taken.file.status()
        #expect(status.uid == 0 && status.gid == 0 && status.mode == 0o700)
        #expect(try taken.file.extendedAttributeNames().isEmpty)
        // New entries inherit nothing.
        try taken.makeDirectory(FileName(literal: "made"), mode: 0o755)
        let made = try taken.open(FileName(literal: "made"))
        #expect(try made.file.status().mode == 0o755 && made.file.status().gid == 0)
        #expect(try made.file.extendedAttributeNames().isEmpty)

        try taken.restore(access)
        let restored = try taken.file.status()
        #expect(restored.uid == other && restored.gid == other && restored.mode == 0o2777)
        #expect(
            try Command.run("getfacl", "-cpn", path.string).succeed().text.contains("default:user:4242:rwx"))
    }

    @Test("A default ACL that the owner adds meanwhile does not survive exclusive access")
    func takesOverRacedLists() throws {
        for round in 0..<60 {
            let name = "d\(round)"
            try run("mkdir \(name); chown 4242:4242 \(name)")
            let path = temporary.path.appending(name)
            let attack = try RunningCommand(
                [
                    "setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "bash", "-c",
                    "while setfacl -m d:u:4242:rwx . && setfacl -k .; do :; done 2>&-",
                ], in: path)
            Process.sleep(milliseconds: UInt32(5 + round % 7))
            try directory.open(FileName(literal: name)).takeExclusiveAccess()
            _ = try attack.finish()
            let left = try directory.open(FileName(literal: name)).file.extendedAttributeNames()
            #expect(left.isEmpty, "\(left)")
        }
    }

    @Test("A socket is refused in a directory that an ACL makes writable for another user")
    func folderWithList() throws {
        try run("mkdir f; setfacl -m u:4242:rwx f; mkdir s; chmod 1777 s")
        #expect(throws: ListeningSocket.Failure.self) {
            _ = try ListeningSocket.listening(at: temporary.path.appending("f/socket"))
        }
        #expect(temporary.path.appending("f/x").exposedAncestors().contains(temporary.path.appending("f")))
        _ = try ListeningSocket.listening(at: temporary.path.appending("s/socket"))
    }

    @Test("A symlink is followed only if every link of the chain belongs to the user")
    func links() throws {
        try run(
            "mkdir d; ln -s d own; ln -s own twice; ln -s d foreign; chown -h 4242 foreign; ln -s foreign deep"
        )
        let path = temporary.path
        #expect(try path.appending("d").resolvingOwnSymlinks() == path.appending("d"))
        #expect(try path.appending("missing").resolvingOwnSymlinks() == path.appending("missing"))
        #expect(try path.appending("own").resolvingOwnSymlinks() == path.appending("d"))
        #expect(try path.appending("twice").resolvingOwnSymlinks() == path.appending("d"))
        for name in ["foreign", "deep"] {
            #expect(
                failure { _ = try path.appending(name).resolvingOwnSymlinks() }
                    == .symlink(path: "\(path)/foreign"))
        }
        try run("ln -s b a; ln -s a b")
        #expect(failure { _ = try path.appending("a").resolvingOwnSymlinks() } != nil)
    }

    @Test("Directories above a path in which another user could replace it are listed")
    func ancestors() throws {
        try run(
            """
            mkdir -p theirs/a/s sticky/s open/s group/s sticky/foreign/s
            chown 4242 theirs; chmod 1777 sticky; chmod 0777 open; chgrp 4242 group; chmod 0775 group
            chown 4242 sticky/foreign
            """)
        let path = temporary.path
        func exposed(_ name: String) -> [FilePath] {
            path.appending(name).exposedAncestors().filter { $0.starts(with: path) }
        }
        #expect(exposed("theirs/a/s") == [path.appending("theirs")])
        #expect(exposed("sticky/s").isEmpty)
        #expect(exposed("open/s") == [path.appending("open")])
        #expect(exposed("group/s") == [path.appending("group")])
        #expect(exposed("group/missing/s") == [path.appending("group")])
        #expect(exposed("sticky/foreign/s") == [path.appending("sticky"), path.appending("sticky/foreign")])
    }
}

@Suite("Opening files that another user may replace") struct OpeningTests {
    private let temporary: TemporaryDirectory
    private let directory: Directory

    init() throws {
        temporary = try TemporaryDirectory()
        directory = try Directory(opening: temporary.path)
    }

    @Test("Only the expected regular file is opened")
    func expected() throws {
        try Command.run(
            "sh", "-ec", "echo 1 > f; echo 2 > g; ln -s f l; mkdir d; mkfifo p", in: temporary.path
        )
        .succeed()
        let (f, g) = (FileName(literal: "f"), FileName(literal: "g"))
        let status = try #require(try directory.status(of: f))
        _ = try directory.openFile(f, expecting: status)
        try directory.rename(g, to: f)
        for (name, mismatch) in [
            ("f", FileMismatch.replaced(path: "f")), ("l", .notRegular(path: "l", type: "a symbolic link")),
            ("d", .notRegular(path: "d", type: "a directory")), ("p", .notRegular(path: "p", type: "a FIFO")),
        ] {
            #expect(throws: mismatch) {
                _ = try directory.openFile(FileName(literal: name), expecting: status)
            }
        }
        let failure = #expect(throws: SyscallFailure.self) {
            _ = try directory.openFile(FileName(literal: "m"), expecting: status)
        }
        #expect(failure?.errno == .noSuchFileOrDirectory && failure?.path == "m")
    }

    /// A writer of a FIFO blocks until a reader opens it, however shortly.
    @Test("The type of a special file is found without opening it", .timeLimit(.minutes(1)))
    func notOpened() throws {
        try Command.run("sh", "-ec", "mkfifo p; ln -s p l", in: temporary.path).succeed()
        let writer = try RunningCommand(["sh", "-c", "echo > p; touch opened"], in: temporary.path)
        defer { writer.kill() }
        Process.sleep(milliseconds: 100)
        #expect(try directory.openFollowing("l").status().kind == .fifo)
        #expect(try directory.openBeneath("l").status().kind == .fifo)
        #expect(throws: FileMismatch.self) { _ = try directory.openFile(FileName(literal: "p")) }
        Process.sleep(milliseconds: 100)
        #expect(try directory.status(of: FileName(literal: "opened")) == nil)
    }
}
