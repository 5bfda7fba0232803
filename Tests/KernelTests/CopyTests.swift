import Kernel
import SystemPackage
import TestSupport
import Testing

private func name(_ text: String) -> FileName { FileName(literal: text) }
private func attribute(_ text: String) -> AttributeName { AttributeName(literal: text) }

/// A file system that a tree is copied from or to.
private enum Place: String, CaseIterable, CustomTestStringConvertible {
    case tmpfs, ext4, btrfs, xfs

    var testDescription: String { rawValue }

    var isAvailable: Bool {
        switch self {
        case .tmpfs: TestEnvironment.scratch != nil
        case .ext4: TestEnvironment.canMountExt4
        case .btrfs: TestEnvironment.canMountBtrfs
        case .xfs: TestEnvironment.canMountXFS
        }
    }

    /// Whether copies share blocks on it.
    var shares: Bool { self == .btrfs || self == .xfs }

    func with<Result>(_ body: (Directory) throws -> Result) throws -> Result {
        if self == .tmpfs {
            let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
            return try body(try Directory(opening: temporary.path))
        }
        let megabytes = self == .xfs ? 320 : 128
        let system = try LoopFileSystem(type: rawValue, megabytes: megabytes)
        defer { withExtendedLifetime(system) {} }
        return try body(try Directory(opening: system.path))
    }
}

@Suite(
    "Copies of trees", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata")
)
struct CopyTests {
    private func makeFile(_ directory: Directory, _ text: String, _ bytes: [UInt8]) throws {
        guard let file = try directory.createFile(name(text), mode: 0o640) else {
            Issue.record("the name is taken")
            return
        }
        try bytes.withRawSpan { span throws(SyscallFailure) in try file.write(span) }
        try file.close()
    }

    /// `u::rwx,g::r-x,g:7:rwx,m::rwx,o::---` in the format of acl(5).
    private static let list: [UInt8] =
        [2, 0, 0, 0]
        + [(1, 7, UInt32.max), (4, 5, .max), (8, 7, 7), (16, 7, .max), (32, 0, .max)].flatMap {
            (tag: UInt8, bits: UInt8, id: UInt32) in
            [tag, 0, bits, 0] + (0..<4).map { UInt8(truncatingIfNeeded: id >> ($0 * 8)) }
        }

    /// Makes a tree with every kind of entry and metadata that a layer may have.
    private func makeTree(_ root: Directory) throws {
        try root.makeDirectory(name("d"), mode: 0o700)
        let d = try root.open(name("d"))
        try d.makeDirectory(name("e"), mode: 0o700)
        let e = try d.open(name("e"))
        try makeFile(root, "f", Bytes.noise(300_000).array)
        try root.setOwner(of: name("f"), uid: 5, gid: 6)
        try root.setMode(of: name("f"), 0o6755)
        try root.setExtendedAttribute(attribute("user.u"), [1, 0, 2], of: name("f"))
        try root.setExtendedAttribute(attribute("trusted.overlay.metacopy"), [], of: name("f"))
        // cap_net_raw=ep
        try root.setExtendedAttribute(
            attribute("security.capability"), [1, 0, 0, 2, 0, 0x20] + Array(repeating: 0, count: 14),
            of: name("f"))
        try makeFile(d, "empty", [])
        try d.setMode(of: name("empty"), 0)
        // Three hard links to a file, two of them deep; two to a symlink and to a node.
        try d.link(name("f"), of: root, as: name("f2"))
        try e.link(name("f"), of: root, as: name("f3"))
        try e.makeSymlink(name("l"), target: [0xFF, 0x2F, 0x2E])
        try e.setOwner(of: name("l"), uid: 9, gid: 9)
        try e.setExtendedAttribute(attribute("trusted.t"), [3], of: name("l"))
        try d.link(name("l"), of: e, as: name("l2"))
        try e.makeNode(name("null"), .character(DeviceNumber(major: 0, minor: 0)), mode: 0)
        try root.link(name("null"), of: e, as: name("null2"))
        try e.makeNode(name("b"), .block(DeviceNumber(major: 511, minor: 262_143)), mode: 0o4600)
        try e.makeNode(name("p"), .fifo, mode: 0o622)
        try e.makeNode(name("s"), .socket, mode: 0o755)
        try makeFile(d, "acl", Array("x".utf8))
        try d.setExtendedAttribute(attribute("system.posix_acl_access"), Self.list, of: name("acl"))
        try makeFile(e, "last", Array("last".utf8))
        let odd = try #require(FileName([0xE9, 0x0A]))
        try d.makeDirectory(odd, mode: 0)
        try d.setOwner(of: odd, uid: 1234, gid: 5678)
        // Set last: entries made later would inherit these.
        try d.file.setOwner(uid: 0, gid: 77)
        try d.setExtendedAttribute(attribute("system.posix_acl_default"), Self.list, of: name("e"))
        try d.file.setExtendedAttribute(attribute("system.posix_acl_default"), Self.list)
        try d.file.setMode(0o2750)
        try root.file.setExtendedAttribute(attribute("trusted.overlay.opaque"), Array("y".utf8))
        try root.file.setMode(0o1777)
        try root.file.setOwner(uid: 3, gid: 4)
        try setTimes(root)
    }

    private func setTimes(_ root: Directory) throws {
        let times = (0..<30).map {
            Timestamp(seconds: Int64($0) * 1_000_003, nanoseconds: 999_999_000 + UInt32($0))
        }
        let d = try root.open(name("d"))
        let e = try d.open(name("e"))
        var next = times.makeIterator()
        for (directory, text) in [
            (root, "f"), (d, "empty"), (e, "l"), (e, "null"), (e, "b"), (e, "p"), (e, "s"), (d, "acl"),
            (e, "last"), (d, "e"), (root, "d"),
        ] {
            guard let access = next.next(), let modification = next.next() else { return }
            try directory.setTimes(of: name(text), access: access, modification: modification)
        }
        let odd = try #require(FileName([0xE9, 0x0A]))
        try d.setTimes(of: odd, access: times[1], modification: times[0])
        try root.file.setTimes(access: times[29], modification: times[28])
    }

    /// What `TreeDump` leaves out: access times, attributes of overlayfs, and link counts.
    private func details(_ root: Directory) throws -> [String] {
        var lines = [String]()
        var pending = [(directory: root, path: "")]
        while let (directory, path) = pending.popLast() {
            let status = try directory.file.status()
            let names = Self.comparable(try directory.file.extendedAttributeNames())
            lines.append("\(path)/ \(status.accessTime) \(names)")
            for name in try directory.names() {
                let status = try #require(try directory.status(of: name))
                if status.isDirectory {
                    pending.append((try directory.open(name), "\(path)/\(name)"))
                } else {
                    let names = Self.comparable(try directory.extendedAttributeNames(of: name))
                    let size = status.kind == .symlink ? 0 : status.size
                    lines.append("\(path)/\(name) \(status.linkCount) \(status.accessTime) \(size) \(names)")
                }
            }
        }
        return lines.sorted()
    }

    /// Names without the SELinux label of the host and the attributes that XFS adds.
    private static func comparable(_ names: [AttributeName]) -> [AttributeName] {
        names.filter { $0 != attribute("security.selinux") && !$0.hasPrefix("trusted.SGI_ACL_") }.sorted()
    }

    private static let pairs: [(Place, Place)] =
        Place.allCases.filter(\.isAvailable).flatMap { place in
            [(place, place), (place, .tmpfs), (.tmpfs, place)]
        }

    @Test("A copy equals its source, on and between all file systems", arguments: pairs)
    private func copies(from: Place, to: Place) throws {
        func check(_ here: Directory, _ there: Directory) throws {
            try here.makeDirectory(name("source"), mode: 0o755)
            let source = try here.open(name("source"))
            try makeTree(source)
            // What the target inherits from its parent must not reach the copy.
            try there.file.setExtendedAttribute(attribute("system.posix_acl_default"), Self.list)
            try there.file.setOwner(uid: 0, gid: 55)
            try there.file.setMode(0o2777)
            try there.makeDirectory(name("target"), mode: 0o755)
            let target = try there.open(name("target"))
            let expected = try details(source)
            // `details` has changed access times.
            try setTimes(source)
            try source.copyContents(to: target)
            let copied = try details(target)
            #expect(copied == expected)
            let dumps = try (TreeDump(of: source), TreeDump(of: target))
            #expect(dumps.0.lines == dumps.1.lines)
            #expect(dumps.0.lines.count == 17)
        }
        try from.with { here in
            if from == to { try check(here, here) } else { try to.with { try check(here, $0) } }
        }
    }

    @Test(
        "A copied file keeps its holes, and shares its blocks if the file system can",
        arguments: Place.allCases)
    private func shares(place: Place) throws {
        guard place.isAvailable else { return }
        try place.with { top in
            try top.makeDirectory(name("a"), mode: 0o700)
            try top.makeDirectory(name("b"), mode: 0o700)
            let a = try top.open(name("a"))
            guard let file = try a.createFile(name("f"), mode: 0o600) else { return }
            let block = Bytes.noise(1 << 20).array
            for number in 0..<40 {
                try block.withRawSpan { span throws(SyscallFailure) in
                    try file.write(span, at: 1 << 30 + Int64(number) << 20)
                }
            }
            try file.truncate(to: 3 << 30)
            try file.close()
            try top.file.syncFileSystem()
            let before = try top.file.freeBytes()
            try a.copyContents(to: try top.open(name("b")))
            try top.file.syncFileSystem()
            let status = try #require(try top.open(name("b")).status(of: name("f")))
            #expect(status.size == 3 << 30)
            #expect(status.blocks * 512 < 50 << 20)
            // Other processes of this machine use the same tmpfs.
            if place != .tmpfs {
                let used = before - (try top.file.freeBytes())
                #expect(place.shares ? used < 10 << 20 : used > 30 << 20)
            }
        }
    }

    @Test("A cancelled copy ends at the next file")
    func unwanted() throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let top = try Directory(opening: temporary.path)
        for text in ["a", "b"] { try top.makeDirectory(name(text), mode: 0o700) }
        let (a, b) = (try top.open(name("a")), try top.open(name("b")))
        for number in 1...9 { try makeFile(a, "f\(number)", [1]) }
        struct Unwanted: Error {}
        #expect(throws: Unwanted.self) {
            try a.copyContents(to: b) { if try b.names().count >= 4 { throw Unwanted() } }
        }
        #expect(try b.names().count == 4)
    }

    @Test("A tree of any depth is copied, with hard links between top and bottom")
    func deep() throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let top = try Directory(opening: temporary.path)
        for text in ["a", "b"] { try top.makeDirectory(name(text), mode: 0o700) }
        let (a, b) = (try top.open(name("a")), try top.open(name("b")))
        try makeFile(a, "f", [1, 2, 3])
        let depth = 10_000
        var inner = a
        for _ in 0..<depth {
            try inner.makeDirectory(name("d"), mode: 0o700)
            inner = try inner.open(name("d"))
        }
        try inner.link(name("f"), of: a, as: name("f"))
        try a.copyContents(to: b)
        #expect(try b.names().count == 2, "the helper directory of the links is removed")
        var copy = b
        for _ in 0..<depth { copy = try copy.open(name("d")) }
        let identity = try #require(try b.status(of: name("f"))).identity
        #expect(try copy.status(of: name("f"))?.identity == identity)
        #expect(try copy.status(of: name("f"))?.linkCount == 2)
    }

    /// ext4 allows 65,000 links to a file: an extra one would fail.
    @Test(
        "A file with the maximum number of links is copied",
        .enabled(if: TestEnvironment.canMountExt4, "ext4 cannot be made and mounted here"))
    func manyLinks() throws {
        try Place.ext4.with { top in
            for text in ["a", "b"] { try top.makeDirectory(name(text), mode: 0o700) }
            let (a, b) = (try top.open(name("a")), try top.open(name("b")))
            try makeFile(a, "0", [1])
            for number in 1..<65_000 { try a.link(name("0"), of: a, as: name("\(number)")) }
            try a.copyContents(to: b)
            #expect(try b.status(of: name("64999"))?.linkCount == 65_000)
            #expect(try b.names().count == 65_000)
        }
    }

    @Test("A file with hard links outside the tree is copied with the links inside")
    func linksOutside() throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let top = try Directory(opening: temporary.path)
        for text in ["a", "b"] { try top.makeDirectory(name(text), mode: 0o700) }
        let (a, b) = (try top.open(name("a")), try top.open(name("b")))
        try makeFile(a, "f", [1])
        try a.link(name("f"), of: a, as: name("g"))
        try top.link(name("f"), of: a, as: name("outside"))
        try a.copyContents(to: b)
        #expect(Set(try b.names()) == [name("f"), name("g")])
        #expect(try b.status(of: name("g"))?.linkCount == 2)
    }

    @Test("A name that exists in the target is reported")
    func failing() throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let top = try Directory(opening: temporary.path)
        for text in ["a", "b"] {
            try top.makeDirectory(name(text), mode: 0o700)
            try makeFile(try top.open(name(text)), "f", [1])
        }
        let failure = #expect(throws: SyscallFailure.self) {
            try top.open(name("a")).copyContents(to: try top.open(name("b")))
        }
        #expect(failure?.isExistingFile == true)
        #expect(failure?.path == "f")
    }
}
