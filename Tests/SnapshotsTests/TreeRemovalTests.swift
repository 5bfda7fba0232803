import Kernel
import Snapshots
import Streams
import SystemPackage
import TestSupport
import Testing

private func name(_ text: String) -> FileName { FileName(literal: text) }

@Suite("Removing trees by several threads") struct TreeRemovalTests {
    private let temporary: TemporaryDirectory
    private let folder: Directory

    init() throws {
        temporary = try TemporaryDirectory(in: TestEnvironment.scratch ?? "/var/tmp")
        folder = try Directory(opening: temporary.path)
    }

    private func remove(_ names: String..., deletion: Deletion = .complete) throws {
        try TreeRemoval(of: names.map(name), in: folder).run(deletion)
    }

    @Test("Wide trees and large directories are removed, targets of symlinks are not")
    func wide() throws {
        let canary = try TemporaryDirectory()
        try canary.write("file", [1])
        for tree in ["a", "b"] {
            let top = try folder.ensureDirectory(tree)
            for number in 0..<300 {
                let inner = try top.ensureDirectory("directory-\(number)")
                try inner.fill(10)
                try inner.makeSymlink(name("out"), target: Array(canary.path.string.utf8))
                try inner.ensureDirectory("inner").makeSymlink(name("up"), target: Array("../..".utf8))
            }
            try top.fill(5000)
            try top.makeSymlink(name("out"), target: Array(canary.path.string.utf8))
        }
        try folder.makeSymlink(name("link"), target: Array(canary.path.string.utf8))
        _ = try folder.createFile(name("file"), mode: 0)
        try remove("a", "b", "link", "file", "missing")
        #expect(try folder.names() == [])
        #expect(try Directory(opening: canary.path).names() == [name("file")])
    }

    @Test("Trees of any depth are removed")
    func deep() throws {
        for tree in ["a", "b"] { try folder.makeChain(tree, depth: 5000) }
        try remove("a", "b")
        #expect(try folder.names() == [])
    }

    @Test("Two threads and a process may remove the same tree", arguments: [1, 400])
    func twice(depth: Int) throws {
        for round in 1...10 {
            let top = try folder.ensureDirectory("a")
            for chain in 0..<20 { try top.makeChain("c\(chain)", depth: depth) }
            for chain in 0..<20 { try top.ensureDirectory("w\(chain)").fill(50) }
            let path = temporary.path
            let both = try (0..<2).map { _ in
                try WorkerThread {
                    try TreeRemoval(of: [name("a")], in: try Directory(opening: path)).run(.complete)
                }
            }
            // Another program, which may fail.
            if round.isMultiple(of: 2) { _ = try Command.run("rm", "-rf", path.appending("a").string) }
            for thread in both { try thread.join() }
            #expect(try folder.names() == [])
        }
    }

    @Test("A small tree is removed at once, a large one in part")
    func begun() throws {
        try folder.ensureDirectory("small").ensureDirectory("d").fill(500)
        try folder.ensureDirectory("large").fill(20_000)
        try folder.ensureDirectory("empty").fillWithDirectories(5000)
        try remove("small", deletion: .started)
        #expect(Set(try folder.names()) == [name("large"), name("empty")])
        try remove("large", deletion: .started)
        try remove("empty", deletion: .started)
        #expect(try folder.open(name("large")).names().count.isBetween(10_000, 19_500))
        #expect(try folder.open(name("empty")).names().count.isBetween(1000, 4900))
        try remove("large", "empty")
        #expect(try folder.names() == [])
    }

    @Test(
        "A file that cannot be removed is reported, and all other trees are removed",
        .enabled(
            if: TestEnvironment.canMountExt4 && TestEnvironment.has("chattr"), "needs chattr and loop devices"
        ))
    func immutable() throws {
        let disk = try LoopFileSystem(type: "ext4", megabytes: 32)
        let folder = try Directory(opening: disk.path)
        for tree in ["a", "b", "c"] { try folder.ensureDirectory(tree).ensureDirectory("d").fill(1500) }
        let stuck = disk.path.appending("a/d/7").string
        try Command.run("chattr", "+i", stuck).succeed()
        defer { _ = try? Command.run("chattr", "-i", stuck) }
        let failure = #expect(throws: SyscallFailure.self) {
            try TreeRemoval(of: ["a", "b", "c"].map(name), in: folder).run(.complete)
        }
        #expect(failure == SyscallFailure("unlinkat", path: "7", errno: .notPermitted))
        #expect(try folder.names().filter { $0 != name("lost+found") } == [name("a")])
        try Command.run("mount", "-o", "remount,ro", disk.path.string).succeed()
        let refused = #expect(throws: SyscallFailure.self) {
            try TreeRemoval(of: [name("a")], in: folder).run(.complete)
        }
        #expect(refused?.errno == .readOnlyFileSystem)
        try Command.run("mount", "-o", "remount,rw", disk.path.string).succeed()
    }

    @Test(
        "Subvolumes are removed with their tree", .enabled(if: TestEnvironment.canMountBtrfs, "needs btrfs"))
    func subvolumes() throws {
        let disk = try LoopFileSystem(type: "btrfs", megabytes: 128)
        let folder = try Directory(opening: disk.path)
        for tree in ["a", "b"] {
            let top = try folder.ensureDirectory(tree)
            try top.ensureDirectory("plain").fill(50)
            try top.makeSubvolume(name("fs"))
            let inner = try top.open(name("fs"))
            try inner.makeChain("deep", depth: 200)
            try inner.makeSubvolume(name("nested"))
            try inner.open(name("nested")).fill(5)
            try inner.setSubvolumeReadOnly(true)
        }
        try TreeRemoval(of: [name("a"), name("b")], in: folder).run(.complete)
        #expect(try folder.names() == [])
    }
}

extension Directory {
    fileprivate func fill(_ count: Int) throws {
        for number in 0..<count { _ = try createFile(name("\(number)"), mode: 0o600) }
    }

    fileprivate func fillWithDirectories(_ count: Int) throws {
        for number in 0..<count { try makeDirectory(name("\(number)"), mode: 0o700) }
    }

    /// Makes nested directories, with a file in every tenth.
    fileprivate func makeChain(_ first: String, depth: Int) throws {
        var inner = try ensureDirectory(first)
        for level in 1..<max(depth, 2) {
            inner = try inner.ensureDirectory("d")
            if level.isMultiple(of: 10) { try inner.fill(1) }
        }
    }
}

extension Int {
    fileprivate func isBetween(_ low: Int, _ high: Int) -> Bool { low <= self && self <= high }
}
