import Kernel
import SystemPackage
import TestSupport
import Testing

private func name(_ text: Bytes) -> FileName { FileName(text.array) ?? FileName(literal: "no name") }

@Suite("Directories") struct DirectoryTests {
    private let temporary: TemporaryDirectory
    private let directory: Directory

    init() throws {
        temporary = try TemporaryDirectory()
        directory = try Directory(opening: temporary.path)
    }

    @Test(
        "Entries with any bytes as names are made, listed and removed",
        arguments: ["a", [0xFF, 0xE9], "new\nline", "..."] as [Bytes])
    func names(bytes: Bytes) throws {
        try directory.makeDirectory(name(bytes), mode: 0o700)
        #expect(try directory.names() == [name(bytes)])
        #expect(try directory.names() == [name(bytes)], "each listing starts at the first name")
        #expect(try directory.status(of: name(bytes))?.kind == .directory)
        try directory.removeEmptyDirectory(name(bytes))
        #expect(try directory.names() == [])
        #expect(try directory.status(of: name(bytes)) == nil)
    }

    @Test("A file is created only if the name is free")
    func creates() throws {
        func isCreated(_ name: FileName) throws -> Bool {
            switch try directory.createFile(name, mode: 0o600) {
            case .some: true
            case .none: false
            }
        }
        #expect(try isCreated(name("f")))
        #expect(try !isCreated(name("f")))
        try directory.makeSymlink(name("l"), target: Array("missing".utf8))
        #expect(try !isCreated(name("l")), "a dangling symlink occupies the name")
    }

    @Test("A symlink as the last component is never followed")
    func noFollow() throws {
        try directory.makeDirectory(name("d"), mode: 0o700)
        try directory.makeSymlink(name("l"), target: Array("d".utf8))
        #expect(try directory.readLink(name("l")) == Array("d".utf8))
        #expect(try directory.status(of: name("l"))?.kind == .symlink)
        #expect(throws: SyscallFailure.self) { try directory.open(name("l")) }
        #expect(throws: FileMismatch.notRegular(path: "l", type: "a symbolic link")) {
            _ = try directory.openFile(name("l"))
        }
        try directory.setTimes(
            of: name("l"), access: .epoch, modification: Timestamp(seconds: -5, nanoseconds: 6))
        #expect(
            try directory.status(of: name("l"))?.modificationTime == Timestamp(seconds: -5, nanoseconds: 6))
        #expect(
            try directory.status(of: name("d"))?.modificationTime != Timestamp(seconds: -5, nanoseconds: 6))
    }

    @Test("Opening a FIFO does not wait for a writer", .timeLimit(.minutes(1)))
    func fifo() throws {
        try directory.makeNode(name("p"), .fifo, mode: 0o600)
        #expect(try directory.openFollowing("p").status().kind == .fifo)
        #expect(throws: FileMismatch.notRegular(path: "p", type: "a FIFO")) {
            _ = try directory.openFile(name("p"))
        }
    }

    @Test("A hard link refers to the file, or to the symlink itself")
    func links() throws {
        _ = try directory.createFile(name("f"), mode: 0o600)
        try directory.makeSymlink(name("l"), target: Array("f".utf8))
        for original in ["f", "l"] {
            try directory.link(name(Bytes(original)), of: directory, as: name("n"))
            let status = try #require(try directory.status(of: name("n")))
            #expect(status.identity == (try directory.status(of: name(Bytes(original)))?.identity))
            #expect(status.linkCount == 2)
            try directory.removeFile(name("n"))
        }
    }

    @Test("Entries of any type are exchanged")
    func exchanges() throws {
        try directory.makeDirectory(name("d"), mode: 0o700)
        try directory.makeSymlink(name("l"), target: Array("d".utf8))
        try directory.exchange(name("d"), name("l"))
        #expect(try directory.status(of: name("l"))?.kind == .directory)
        #expect(try directory.status(of: name("d"))?.kind == .symlink)
        let failure = #expect(throws: SyscallFailure.self) { try directory.exchange(name("d"), name("m")) }
        #expect(failure?.isMissing == true)
        try directory.file.sync()
    }

    @Test("A tree is removed, and the targets of its symlinks stay")
    func removesTree() throws {
        let canary = try TemporaryDirectory()
        try canary.write("file", [1])
        try directory.makeDirectory(name("t"), mode: 0o700)
        let tree = try directory.open(name("t"))
        try tree.makeSymlink(name("out"), target: Array(canary.path.string.utf8))
        // Names like those that the removal uses itself.
        for text in [".removing-1", ".removing-2", "d"] as [Bytes] {
            try tree.makeDirectory(name(text), mode: 0o700)
            let inner = try tree.open(name(text))
            try inner.makeDirectory(name(text), mode: 0o700)
            try inner.open(name(text)).makeSymlink(name("up"), target: Array("../..".utf8))
            _ = try inner.createFile(name([0xFF]), mode: 0)
        }
        try directory.removeTree(name("t"))
        #expect(try directory.names() == [])
        #expect(try Directory(opening: canary.path).names() == [name("file")])
        try directory.removeTree(name("t"))
    }

    @Test("A tree of any depth is removed")
    func removesDeepTree() throws {
        var inner = directory
        for depth in 0..<3000 {
            try inner.makeDirectory(name("d"), mode: 0o700)
            inner = try inner.open(name("d"))
            if depth % 100 == 0 { _ = try inner.createFile(name("f"), mode: 0o600) }
        }
        try directory.removeTree(name("d"))
        #expect(try directory.names() == [])
    }

    @Test("A failure names the call, the file and the reason")
    func failures() {
        let failure = #expect(throws: SyscallFailure.self) { try directory.removeFile(name("a\nb")) }
        #expect(failure == SyscallFailure("unlinkat", path: #"a\x0ab"#, errno: .noSuchFileOrDirectory))
        #expect(failure?.isMissing == true)
        #expect(failure?.description == #"unlinkat 'a\x0ab': no such file or directory"#)
    }
}
