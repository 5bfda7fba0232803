import Compression
import Kernel
import OCI
import Snapshots
import Streams
import SystemPackage
import TestSupport
import Testing

private let time = Timestamp(seconds: 1_700_000_000, nanoseconds: 123_456_789)

/// A tree and its record.
struct RecordScratch {
    let temporary: TemporaryDirectory
    let folder: Directory
    let tree: Directory
    var path: FilePath { temporary.path.appending("tree") }
    let record = FileName(literal: "record")

    init(in parent: FilePath? = TestEnvironment.scratch) throws {
        Process.setUp()
        temporary = try TemporaryDirectory(in: try #require(parent))
        folder = try Directory(opening: temporary.path)
        tree = try folder.ensureDirectory("tree", mode: 0o755)
    }

    @discardableResult
    func write(
        _ tree: Directory? = nil, known: (FileStatus) -> ContentDigest? = { _ in nil }
    ) throws -> OCI.Digest {
        try folder.removeTree(record)
        let file = try folder.openOrCreateFile(record, mode: 0o600)
        let digest = try TreeRecord.write(tree: tree ?? self.tree, to: file, known: known).digest
        try file.close()
        return digest
    }

    func compare(_ digest: OCI.Digest? = nil) throws -> [String] {
        var found = [String]()
        try TreeComparison.compare(tree: tree, with: record, in: folder, digest: digest) {
            found.append($0.description)
        }
        return found
    }

    var text: String {
        get throws {
            var all = [UInt8]()
            var some = [UInt8]()
            let file = try folder.openFile(record)
            repeat {
                try file.read(into: &some, limit: 4096)
                all += some
            } while !some.isEmpty
            return String(decoding: all, as: UTF8.self)
        }
    }

    func replaceRecord(_ text: String) throws {
        try folder.removeTree(record)
        try temporary.write("record", Array(text.utf8))
    }
}

extension Directory {
    fileprivate func write(_ name: Bytes, _ content: Bytes, mode: UInt32 = 0o644) throws {
        let name = try #require(FileName(name.array))
        let file = try openOrCreateFile(name, mode: mode)
        try file.truncate(to: 0)
        try content.array.withRawSpan { span throws(SyscallFailure) in try file.write(span) }
        try file.setTimes(access: time, modification: time)
    }

    fileprivate func name(_ name: Bytes) throws -> FileName { try #require(FileName(name.array)) }

    fileprivate func make(_ name: String, _ body: (Directory) throws -> Void = { _ in }) throws {
        let directory = try ensureDirectory(name, mode: 0o755)
        try body(directory)
        try directory.file.setTimes(access: time, modification: time)
    }

    /// Changes the content of the directory and keeps its times.
    fileprivate func keepingTime(_ body: (Directory) throws -> Void) throws {
        let status = try file.status()
        try body(self)
        try file.setTimes(access: status.accessTime, modification: status.modificationTime)
    }

    /// Makes one file of each type.
    func fill() throws {
        try make("dir") { directory in
            try directory.write("file", "some content")
            try directory.write("other", "other content", mode: 0o4755)
            try directory.make("empty")
            try directory.make("full") { try $0.write("inner", "inner") }
        }
        try make("links") { links in
            try links.write("a", "linked")
            try links.link(links.name("a"), of: links, as: links.name("b"))
            try links.link(links.name("a"), of: links, as: links.name("c"))
            try links.makeSymlink(links.name("symlink"), target: Array("../dir/file".utf8))
            try links.setTimes(of: links.name("symlink"), access: time, modification: time)
        }
        try make("nodes") { nodes in
            try nodes.makeNode(nodes.name("fifo"), .fifo, mode: 0o600)
            try nodes.makeNode(nodes.name("socket"), .socket, mode: 0o600)
            try nodes.makeNode(
                nodes.name("null"), .character(DeviceNumber(major: 1, minor: 3)), mode: 0o666)
            try nodes.makeNode(nodes.name("disk"), .block(DeviceNumber(major: 8, minor: 1)), mode: 0o660)
            for name in try nodes.names() { try nodes.setTimes(of: name, access: time, modification: time) }
        }
        try make("overlay") { overlay in
            try overlay.makeWhiteout(overlay.name("device"), .device)
            try overlay.makeWhiteout(overlay.name("attribute"), .attribute)
            try overlay.setOpacity(.holdsWhiteouts)
            try overlay.make("opaque") { try $0.setOpacity(.opaque) }
        }
        try make("xattrs") { xattrs in
            try xattrs.write("file", "")
            try xattrs.setExtendedAttribute(
                AttributeName(literal: "user.a b=c"), [1, 2], of: xattrs.name("file"))
            try xattrs.setExtendedAttribute(
                AttributeName(literal: "trusted.empty"), [], of: xattrs.name("file"))
        }
        try file.setTimes(access: time, modification: time)
    }
}

private struct Change: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let change: @Sendable (Directory) throws -> Void
    /// The beginning of each reported difference.
    let found: [String]

    init(_ name: String, _ found: [String], _ change: @escaping @Sendable (Directory) throws -> Void) {
        testDescription = name
        self.change = change
        self.found = found
    }
}

private func inside(
    _ folder: String, _ body: @escaping @Sendable (Directory) throws -> Void
) -> @Sendable (Directory) throws -> Void {
    { try $0.open(FileName(literal: folder)).keepingTime(body) }
}

private let changes: [Change] = [
    Change("nothing", []) { _ in },
    Change(
        "one byte, the time restored", ["dir/file: the content's digest is "],
        inside("dir") { try $0.write("file", "some bontent") }),
    Change(
        "a byte more", ["dir/file: size is 13, recorded as 12", "dir/file: the content's digest is "],
        inside("dir") { try $0.write("file", "some content!") }),
    Change(
        "mode", ["dir/other: mode is 0755, recorded as 4755"],
        inside("dir") { try $0.setMode(of: $0.name("other"), 0o755) }),
    Change(
        "uid", ["dir/file: uid is 7, recorded as 0"],
        inside("dir") { try $0.setOwner(of: $0.name("file"), uid: 7, gid: 0) }),
    Change(
        "gid", ["dir/full: gid is 8, recorded as 0"],
        inside("dir") { try $0.setOwner(of: $0.name("full"), uid: 0, gid: 8) }),
    Change(
        "time", ["dir/file: time is -1.000000007, recorded as 1700000000.123456789"],
        inside("dir") {
            let time = Timestamp(seconds: -1, nanoseconds: 7)
            try $0.setTimes(of: $0.name("file"), access: time, modification: time)
        }),
    Change("the top's mode", [".: mode is 0700, recorded as 0755"]) { try $0.file.setMode(0o700) },
    Change(
        "an attribute's value", ["xattrs/file: xattr.user.a\\040b\\075c is AQM=, recorded as AQI="],
        inside("xattrs") {
            try $0.setExtendedAttribute(AttributeName(literal: "user.a b=c"), [1, 3], of: $0.name("file"))
        }),
    Change(
        "an attribute more", ["xattrs/file: xattr.user.new is bmV3, not recorded"],
        inside("xattrs") {
            try $0.setExtendedAttribute(
                AttributeName(literal: "user.new"), Array("new".utf8), of: $0.name("file"))
        }),
    Change(
        "an attribute less", ["xattrs/file: xattr.trusted.empty is missing, recorded as "],
        inside("xattrs") {
            try $0.openFile($0.name("file")).removeExtendedAttribute(AttributeName(literal: "trusted.empty"))
        }),
    Change(
        "no longer opaque",
        ["overlay/opaque: xattr.trusted.overlay.opaque is missing, recorded as eQ=="],
        inside("overlay") {
            try $0.open($0.name("opaque")).file.removeExtendedAttribute(OverlayMarks.own.opaque)
        }),
    Change(
        "no longer a whiteout",
        ["overlay/attribute: xattr.trusted.overlay.whiteout is missing, recorded as "],
        inside("overlay") {
            try $0.openFile($0.name("attribute")).removeExtendedAttribute(OverlayMarks.own.whiteout)
        }),
    Change(
        "a whiteout removed", ["overlay/device: is missing"],
        inside("overlay") { try $0.removeFile($0.name("device")) }),
    Change(
        "a symlink's target", ["links/symlink: link is elsewhere, recorded as ../dir/file"],
        inside("links") {
            try $0.removeFile($0.name("symlink"))
            try $0.makeSymlink($0.name("symlink"), target: Array("elsewhere".utf8))
            try $0.setTimes(of: $0.name("symlink"), access: time, modification: time)
        }),
    Change(
        "a device's number", ["nodes/null: device is linux,1,5, recorded as linux,1,3"],
        inside("nodes") {
            try $0.removeFile($0.name("null"))
            try $0.makeNode($0.name("null"), .character(DeviceNumber(major: 1, minor: 5)), mode: 0o666)
            try $0.setTimes(of: $0.name("null"), access: time, modification: time)
        }),
    Change(
        "a directory that becomes a file", ["dir/full: type is file, recorded as dir"],
        inside("dir") {
            try $0.removeTree($0.name("full"))
            try $0.write("full", "")
        }),
    Change(
        "a file that becomes a directory", ["dir/file: type is dir, recorded as file"],
        inside("dir") {
            try $0.removeFile($0.name("file"))
            try $0.make("file") { try $0.write("below", "") }
        }),
    Change(
        "a broken link", ["links/b: hardlink is missing, recorded as ./links/a"],
        inside("links") {
            try $0.removeFile($0.name("b"))
            try $0.write("b", "linked")
        }),
    Change(
        "a file that becomes a link",
        [
            "dir/other: hardlink is ./dir/file, not recorded", "dir/other: mode is 0644, recorded as 4755",
            "dir/other: size is 12, recorded as 13", "dir/other: the content's digest is ",
        ],
        inside("dir") {
            try $0.removeFile($0.name("other"))
            try $0.link($0.name("file"), of: $0, as: $0.name("other"))
        }),
    Change(
        "a new link, before all others", ["links/0: is not recorded"],
        inside("links") { try $0.link($0.name("c"), of: $0, as: $0.name("0")) }),
    Change(
        "content of linked files", ["links/a: the content's digest is "],
        inside("links") { try $0.write("b", "lInked") }),
    Change(
        "a new file", ["dir/another: is not recorded"], inside("dir") { try $0.write("another", "") }),
    Change(
        "a new directory", ["dir/z: is not recorded"],
        inside("dir") { try $0.make("z") { try $0.write("in it", "") } }),
    Change(
        "a removed file", ["dir/file: is missing"], inside("dir") { try $0.removeFile($0.name("file")) }),
    Change(
        "a removed directory", ["dir/full: is missing"],
        inside("dir") { try $0.removeTree($0.name("full")) }),
    Change(
        "the last one removed", ["xattrs: is missing"],
        { try $0.keepingTime { try $0.removeTree($0.name("xattrs")) } }),
]

@Suite(.enabled(if: TestEnvironment.canApplyLayers))
private struct TreeRecordTests {
    @Test(arguments: changes)
    func namesEachChangeAndNothingElse(_ change: Change) throws {
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        let digest = try scratch.write()
        try change.change(scratch.tree)
        let found = try scratch.compare(digest)
        #expect(found.count == change.found.count, "\(found)")
        for (line, beginning) in zip(found, change.found) { #expect(line.hasPrefix(beginning)) }
        #expect(try (scratch.write() == digest) == change.found.isEmpty)
    }

    @Test func reportsTheOldAndTheNewContent() throws {
        let scratch = try RecordScratch()
        try scratch.tree.write("f", "hello")
        let digest = try scratch.write()
        try scratch.tree.keepingTime { try $0.write("f", "hallo") }
        #expect(
            try scratch.compare(digest) == [
                "f: the content's digest is 8ffa6d8a32122e4914f078eda2965b849b5e633fb02c788c4a813717370800cd, recorded as 21eb8a0e65727a65c3310ab5ba432a8c80f343908cae64623e5413566719e0cc"
            ])
    }

    @Test func writesTheDocumentedFormat() throws {
        let scratch = try RecordScratch()
        let tree = scratch.tree
        try tree.write("a b", "hello")
        try tree.link(tree.name("a b"), of: tree, as: tree.name("b"))
        try tree.make("c") { try $0.setOpacity(.opaque) }
        try tree.makeWhiteout(tree.name("d"), .device)
        try tree.file.setTimes(access: time, modification: .epoch)
        try scratch.write()
        #expect(
            try scratch.text == """
                #mtree
                . type=dir mode=0755 uid=0 gid=0 time=0.000000000
                ./a\\040b type=file mode=0644 uid=0 gid=0 time=1700000000.123456789 size=5 \
                sha256blocks=21eb8a0e65727a65c3310ab5ba432a8c80f343908cae64623e5413566719e0cc
                ./b type=file hardlink=./a\\040b
                ./c type=dir mode=0755 uid=0 gid=0 time=1700000000.123456789 xattr.trusted.overlay.opaque=eQ==
                ./d type=char mode=0000 uid=0 gid=0 time=0.000000000 device=linux,0,0
                # 5 paths

                """)
    }

    @Test func recordsAnEmptyTree() throws {
        let scratch = try RecordScratch()
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        #expect(try scratch.text.hasSuffix("\n# 1 paths\n"))
    }

    @Test func recordsNamesOfAnyBytes() throws {
        let scratch = try RecordScratch()
        let names: [Bytes] = [
            "a b", "new\nline", "tab\t", "back\\slash", "\\040", "#comment", "x=y", "*", "[a]?", "/set",
            [0xFF, 0xFE], "caf\u{E9}", "a", "a.b", "...", "~", Bytes([UInt8](repeating: 1, count: 255)),
        ].filter { $0 != "/set" }
        for name in names {
            try scratch.tree.write(name, "1")
            let target = Bytes("l-") + Bytes(name.array.prefix(200))
            try scratch.tree.makeSymlink(scratch.tree.name(target), target: name.array)
        }
        // Sorts between `a` and the content of `a` if whole paths are compared.
        try scratch.tree.make("d") { try $0.write("x", "") }
        try scratch.tree.make("d.e") { try $0.write("x", "") }
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        for name in names { try scratch.tree.write(name, "2") }
        let found = try scratch.compare(digest)
        #expect(found.count == names.count)
        #expect(!found.contains { $0.contains("\n") })
    }

    @Test func walksAnyDepthWithFewDescriptors() throws {
        let scratch = try RecordScratch()
        var directory = scratch.tree
        for level in 0..<1000 {
            try directory.make("d") { directory = $0 }
            // Visited after the content of `d`: the walk returns to this level.
            if level % 10 == 0 { try directory.write("e", "") }
        }
        let bottom = directory
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        try bottom.keepingTime { try $0.write("new", "") }
        #expect(
            try scratch.compare(digest) == [
                String(repeating: "d/", count: 1000) + "new: is not recorded"
            ])
    }

    @Test func readsFilesOfAnySize() throws {
        let scratch = try RecordScratch()
        for size in [0, 1, 65536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1] {
            try scratch.tree.write("\(size)", .noise(size))
        }
        let hole = try scratch.tree.openOrCreateFile(FileName(literal: "hole"), mode: 0o644)
        try hole.truncate(to: 3 << 20)
        try hole.close()
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        for size in [1, 65536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1] {
            try scratch.tree.keepingTime {
                var content = Bytes.noise(size)
                content.array[size - 1] ^= 1
                try $0.write("\(size)", content)
            }
            let found = try scratch.compare(digest)
            #expect(found.count == 1 && found[0].hasPrefix("\(size): the content's digest is "))
            try scratch.tree.keepingTime { try $0.write("\(size)", .noise(size)) }
        }
    }

    @Test func doesNotReadFilesWithKnownDigests() throws {
        let scratch = try RecordScratch()
        try scratch.temporary.write("tree/a", Bytes.noise(1000).array)
        try scratch.temporary.write("tree/b", [1])
        let digest = try scratch.write()
        let text = try scratch.text
        var digester = ContentDigester()
        digester.update(Bytes.noise(1000).array.span.bytes, at: 0)
        let known = digester.finish(size: 1000)
        #expect(text.contains("size=1000 sha256blocks=\(known.hex)"))
        #expect(try scratch.write { $0.size == 1000 ? known : nil } == digest)
        #expect(try scratch.text == text)
        var other = ContentDigester()
        let wrong = other.finish(size: 0)
        #expect(try scratch.write { $0.size == 1000 ? wrong : nil } != digest)
        #expect(try scratch.text == text.replacing(known.hex, with: wrong.hex))
    }

    @Test func readsNoHoles() throws {
        let scratch = try RecordScratch()
        let file = try scratch.tree.openOrCreateFile(FileName(literal: "sparse"), mode: 0o644)
        try file.truncate(to: 8 << 40)
        try file.write([1, 2, 3].span.bytes, at: 1 << 40)
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        try file.write([4].span.bytes, at: (1 << 40) + 1)
        #expect(try scratch.compare(digest).count { $0.contains("the content's digest") } == 1)
    }

    /// Earlier versions recorded cksum(1).
    @Test func readsRecordsOfChecksums() throws {
        let scratch = try RecordScratch()
        let tree = scratch.tree
        try tree.write("a", "hello")
        try tree.write("empty", "")
        let file = try tree.openOrCreateFile(FileName(literal: "hole"), mode: 0o644)
        try file.truncate(to: 1 << 20)
        try file.write([5].span.bytes, at: 540_000)
        try file.close()
        try scratch.write()
        let withDigests = try TreeComparison.compare(
            tree: tree, with: scratch.record, in: scratch.folder, digest: nil, report: { _ in })
        #expect(withDigests.strength == .digest && withDigests.paths == 4)
        var text = try scratch.text
        for name in ["a", "empty", "hole"] {
            let path = scratch.path.appending(name).string
            let sum = try Command.run("cksum", path).succeed().text.split(separator: " ")[0]
            let digest = try #require(text.firstMatch(of: /sha256blocks=[0-9a-f]{64}/)?.output)
            text = text.replacing(digest, with: "cksum=\(sum)", maxReplacements: 1)
        }
        try scratch.replaceRecord(text)
        let compared = try TreeComparison.compare(
            tree: tree, with: scratch.record, in: scratch.folder, digest: nil,
            report: { Issue.record("\($0)") })
        #expect(compared.strength == .checksum && compared.paths == 4)
        try tree.keepingTime { try $0.write("a", "hallo") }
        #expect(try scratch.compare() == ["a: the content's checksum is 3808494254, recorded as 3287646509"])
    }

    /// Four chosen bytes give any content any CRC-32.
    @Test func findsForgedContent() throws {
        let scratch = try RecordScratch()
        let name = Bytes("tool")
        let content = Array("the program that was verified\n".utf8)
        try scratch.tree.write(name, Bytes(content))
        let digest = try scratch.write()
        let path = scratch.path.appending("tool").string
        let sum = try Command.run("cksum", path).succeed().text
        try scratch.tree.keepingTime {
            try $0.write(
                name, Bytes(forged(from: Array("#!/bin/sh: evil, EVIL, evil\n".utf8), like: content)))
        }
        #expect(try Command.run("cksum", path).succeed().text == sum, "the attack itself")
        let found = try scratch.compare(digest)
        #expect(found.count == 1 && found[0].hasPrefix("tool: the content's digest is "))
    }

    /// Content with another beginning, the same length and the same cksum(1): the last four bytes are the solution of
    /// a linear system.
    private func forged(from start: [UInt8], like content: [UInt8]) -> [UInt8] {
        func sum(_ bytes: [UInt8]) -> UInt32 {
            var checksum = Checksum()
            checksum.update(bytes.span.bytes)
            return checksum.finish()
        }
        var result = Array((start + content).prefix(content.count - 4)) + [0, 0, 0, 0]
        let difference = sum(result) ^ sum(content)
        // The effect of each bit of the four bytes on the sum, as a system of equations over GF(2).
        var rows = (0..<32).map { bit -> (effect: UInt32, bits: UInt32) in
            var other = result
            other[result.count - 4 + bit / 8] ^= 1 << UInt8(bit % 8)
            return (sum(other) ^ sum(result), 1 << UInt32(bit))
        }
        var rest = difference
        var solution: UInt32 = 0
        for column in 0..<32 {
            let mask = UInt32(1) << UInt32(column)
            guard let pivot = rows.firstIndex(where: { $0.effect & mask != 0 }) else { continue }
            let row = rows.remove(at: pivot)
            rows = rows.map { $0.effect & mask != 0 ? ($0.effect ^ row.effect, $0.bits ^ row.bits) : $0 }
            if rest & mask != 0 {
                rest ^= row.effect
                solution ^= row.bits
            }
        }
        for bit in 0..<32 where solution >> UInt32(bit) & 1 == 1 {
            result[result.count - 4 + bit / 8] ^= 1 << UInt8(bit % 8)
        }
        return result
    }

    @Test func isTheSameForACopy() throws {
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        let digest = try scratch.write()
        let copy = try TemporaryDirectory(in: "/var/tmp")
        try Command.run("cp", "-a", scratch.path.string, copy.path.appending("copy").string).succeed()
        #expect(try scratch.write(try Directory(opening: copy.path.appending("copy"))) == digest)
    }

    @Test(.enabled(if: TestEnvironment.has("bsdtar")))
    func isReadByLibarchive() throws {
        let scratch = try RecordScratch()
        try scratch.tree.make("dir") { try $0.write("a b", "1") }
        try scratch.tree.makeSymlink(FileName(literal: "link"), target: [UInt8(ascii: "x")])
        try scratch.write()
        let record = scratch.temporary.path.appending("record").string
        // It warns about keywords that mtree(5) does not define, and continues.
        let listed = try Command.run("bsdtar", "-tf", record)
        #expect(listed.status <= 1 && !listed.errorText.contains("Damaged"), "\(listed.report)")
        #expect(listed.text == ".\n./dir\n./dir/a b\n./link\n")

        try scratch.tree.fill()
        try scratch.tree.write("new\nline", "")
        try scratch.write()
        let paths = try scratch.text.split(separator: "\n").count - 2
        let all = try Command.run("bsdtar", "-tf", record)
        #expect(all.status <= 1 && all.text.split(separator: "\n").count == paths, "\(all.report)")
    }

    @Test(.enabled(if: TestEnvironment.canMountOverlay))
    func continuesAfterAnUnreadableFile() throws {
        let scratch = try RecordScratch()
        for name in ["a", "b", "c"] as [Bytes] { try scratch.tree.write(name, "content") }
        let digest = try scratch.write()
        try scratch.tree.keepingTime { try $0.write("c", "changed") }
        // EACCES from open, or EIO from a read at offset 0, where no process has memory.
        let broken = scratch.path.appending("b")
        try Command.run("mount", "--bind", "/proc/1/mem", broken.string).succeed()
        defer { try? unmountWhenFree(broken) }
        let found = try scratch.compare(digest)
        #expect(
            found.count == 2 && found[0].hasPrefix("b: cannot be read: ") && found[1].hasPrefix("c: "))
        #expect(throws: SyscallFailure.self) { try scratch.write() }
    }

    @Test func stopsWhenTheCheckThrows() throws {
        struct Enough: Error {}
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        let digest = try scratch.write()
        let other = try scratch.folder.openOrCreateFile(FileName(literal: "other"), mode: 0o600)
        var asked = 0
        func check() throws {
            asked += 1
            if asked == 7 { throw Enough() }
        }
        #expect(throws: Enough.self) {
            try TreeRecord.write(tree: scratch.tree, to: other, check: check)
        }
        asked = 0
        #expect(throws: Enough.self) {
            try TreeComparison.compare(
                tree: scratch.tree, with: scratch.record, in: scratch.folder, digest: digest, check: check
            ) { _ in }
        }
    }

    @Test func refusesARecordThatIsCutOff() throws {
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        let digest = try scratch.write()
        let text = try scratch.text
        for length in 0..<text.utf8.count where length % 97 == 0 || length > text.utf8.count - 40 {
            try scratch.replaceRecord(String(text.prefix(length)))
            #expect(throws: TreeRecordFailure.self) { try scratch.compare() }
            #expect {
                try scratch.compare(digest)
            } throws: { error in
                if case TreeRecordFailure.altered(digest, _) = error { true } else { false }
            }
        }
    }

    @Test(arguments: [
        ("#mtree", "mtree", 1), ("./dir type", "./zzz type", 4), ("./dir type", "/dir type", 3),
        ("./dir type", "./../dir type", 3), ("./dir type", "./dir//x type", 3), ("./dir type", "type", 3),
        ("./dir type", "./d\\999 type", 3), ("./dir type", "./d\\151r type", 3), ("./dir type", " type", 3),
        ("./dir/empty", "./dir", 4), (". type=dir", "./a type=dir", 2), (". type=dir", ". mode=1", 2),
        (". type=dir", ". type=dir type=dir", 2), (". type=dir", ". type=dir  x=y", 2),
        (". type=dir", ". type=dir x", 2), (". type=dir", ". type=dir =x", 2),
        (". type=dir", ". type=dir x=\u{1B}", 2), ("./dir type", "# 1 paths\n./dir type", 4),
        ("./dir type", "#comment\n./dir type", 3), ("./dir type", "\n./dir type", 3),
    ])
    func refusesAMalformedRecord(_ text: String, _ replacement: String, _ line: Int) throws {
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        try scratch.write()
        let record = try scratch.text
        let range = try #require(record.firstRange(of: text))
        try scratch.replaceRecord(record.replacing(text, with: replacement, subrange: range))
        #expect {
            try scratch.compare()
        } throws: { error in
            if case TreeRecordFailure.malformed(line, _) = error { true } else { false }
        }
    }

    /// Without the digest, each flipped bit of a record gives a difference or a refusal, and no crash.
    @Test func noticesEveryFlippedBitOfARecord() throws {
        let scratch = try RecordScratch()
        try scratch.tree.write("a b", "hello")
        try scratch.tree.make("d") { try $0.setOpacity(.opaque) }
        try scratch.write()
        let record = Array(try scratch.text.utf8)
        for bit in 0..<record.count * 8 {
            var altered = record
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            try scratch.folder.removeTree(scratch.record)
            try scratch.temporary.write("record", altered)
            do {
                #expect(try !scratch.compare().isEmpty, "byte \(bit / 8)")
            } catch is TreeRecordFailure {
                continue
            }
        }
    }
}
