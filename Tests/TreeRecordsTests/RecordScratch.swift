import Kernel
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing
import TreeRecords

let time = Timestamp(seconds: 1_700_000_000, nanoseconds: 123_456_789)

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
    func write(_ name: Bytes, _ content: Bytes, mode: UInt32 = 0o644) throws {
        let name = try #require(FileName(name.array))
        let file = try openOrCreateFile(name, mode: mode)
        try file.truncate(to: 0)
        try content.array.withRawSpan { span throws(SyscallFailure) in try file.write(span) }
        try file.setTimes(access: time, modification: time)
    }

    func name(_ name: Bytes) throws -> FileName { try #require(FileName(name.array)) }

    func make(_ name: String, _ body: (Directory) throws -> Void = { _ in }) throws {
        let directory = try ensureDirectory(name, mode: 0o755)
        try body(directory)
        try directory.file.setTimes(access: time, modification: time)
    }

    /// Changes the content of the directory and keeps its times.
    func keepingTime(_ body: (Directory) throws -> Void) throws {
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
