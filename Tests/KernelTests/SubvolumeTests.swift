import Kernel
import SystemPackage
import TestSupport
import Testing

private func name(_ text: String) -> FileName { FileName(literal: text) }

@Suite("Subvolumes", .enabled(if: TestEnvironment.canMountBtrfs, "btrfs cannot be made and mounted here"))
struct SubvolumeTests {
    private let system: LoopFileSystem
    private let top: Directory

    init() throws {
        system = try LoopFileSystem(type: "btrfs", megabytes: 300)
        top = try Directory(opening: system.path)
    }

    @Test("Btrfs is distinguished from other file systems")
    func isBtrfs() throws {
        #expect(try top.isBtrfs)
        #expect(try !Directory(opening: "/proc").isBtrfs)
    }

    @Test("A new subvolume has an ID of its own")
    func makes() throws {
        try top.makeSubvolume(name("a"))
        try top.makeSubvolume(name("b"))
        let a = try top.open(name("a"))
        #expect(try a.file.status().mode == 0o755)
        #expect(try top.subvolumeID() == 5)
        let numbers = try [a.subvolumeID(), top.open(name("b")).subvolumeID()]
        #expect(Set(numbers).count == 2)
        #expect(numbers.allSatisfy { $0 >= 256 })
        try a.makeDirectory(name("d"), mode: 0o700)
        #expect(try a.open(name("d")).subvolumeID() == numbers[0])
        let failure = #expect(throws: SyscallFailure.self) { try top.makeSubvolume(name("a")) }
        #expect(failure?.errno == .fileExists)
        let long = String(repeating: "n", count: 255)
        try top.makeSubvolume(name(long))
        try top.removeSubvolume(name(long))
    }

    @Test(
        "A snapshot has the content of its source, and can be made read-only and writable",
        arguments: [true, false])
    func snapshots(readOnly: Bool) throws {
        try top.makeSubvolume(name("a"))
        let a = try top.open(name("a"))
        try a.makeDirectory(name("d"), mode: 0o700)
        try top.snapshotSubvolume(a, as: name("s"), readOnly: readOnly)
        try a.removeEmptyDirectory(name("d"))
        let snapshot = try top.open(name("s"))
        #expect(try snapshot.names() == [name("d")])
        try snapshot.setSubvolumeReadOnly(true)
        let failure = #expect(throws: SyscallFailure.self) {
            try snapshot.makeDirectory(name("e"), mode: 0o700)
        }
        #expect(failure?.errno == .readOnlyFileSystem)
        try snapshot.setSubvolumeReadOnly(false)
        try snapshot.makeDirectory(name("e"), mode: 0o700)
        let other = #expect(throws: SyscallFailure.self) {
            try top.snapshotSubvolume(try snapshot.open(name("e")), as: name("t"), readOnly: readOnly)
        }
        #expect(other?.errno == .invalidArgument)
    }

    @Test("A subvolume is removed, read-only or not; a missing one is no error", arguments: [true, false])
    func removes(readOnly: Bool) throws {
        try top.makeSubvolume(name("a"))
        let a = try top.open(name("a"))
        _ = try a.createFile(name("f"), mode: 0o600)
        try a.setSubvolumeReadOnly(readOnly)
        try top.removeSubvolume(name("a"))
        try top.removeSubvolume(name("a"))
        #expect(try top.names() == [])
        try top.makeDirectory(name("plain"), mode: 0o700)
        #expect(throws: SyscallFailure.self) { try top.removeSubvolume(name("plain")) }
        #expect(try top.names() == [name("plain")])
    }

    /// Removed as a subvolume, and as part of a directory tree.
    @Test(
        "Nested subvolumes are removed with the outer one, even if they are read-only",
        arguments: [true, false])
    func removesNested(asTree: Bool) throws {
        try top.makeSubvolume(name("a"))
        let outer = try top.open(name("a"))
        var sealed = [outer]
        var inner = outer
        for depth in 0..<5 {
            try inner.makeDirectory(name("d"), mode: 0o700)
            let below = try inner.open(name("d"))
            for text in ["x", "y"] {
                try below.makeSubvolume(name(text))
                _ = try below.open(name(text)).createFile(name("f"), mode: 0o600)
            }
            try inner.makeSubvolume(name("z"))
            inner = try below.open(name("x"))
            if depth.isMultiple(of: 2) { sealed.append(inner) }
        }
        for subvolume in sealed { try subvolume.setSubvolumeReadOnly(true) }
        guard asTree else {
            try top.removeSubvolume(name("a"))
            #expect(try top.names() == [])
            return
        }
        try outer.setSubvolumeReadOnly(false)
        try top.makeDirectory(name("t"), mode: 0o700)
        try top.open(name("t")).makeDirectory(name("u"), mode: 0o700)
        try top.rename(name("a"), to: name("a"), in: try top.open(name("t")).open(name("u")))
        try outer.setSubvolumeReadOnly(true)
        try top.removeTree(name("t"))
        #expect(try top.names() == [])
    }
}
