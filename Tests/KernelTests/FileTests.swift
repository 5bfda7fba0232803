import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("Files") struct FileTests {
    private let temporary: TemporaryDirectory
    private let directory: Directory
    private let name = FileName(literal: "f")

    init() throws {
        temporary = try TemporaryDirectory()
        directory = try Directory(opening: temporary.path)
    }

    private func content(_ name: FileName) throws -> [UInt8] {
        try File.contents(of: temporary.path.appending(name.description))
    }

    @Test("Bytes are written at their offsets, and holes take no blocks")
    func writes() throws {
        guard let file = try directory.createFile(name, mode: 0o600) else {
            Issue.record("the name is taken")
            return
        }
        try Array("end".utf8).withRawSpan { span throws(SyscallFailure) in try file.write(span, at: 1 << 20) }
        try Array("start".utf8).withRawSpan { span throws(SyscallFailure) in try file.write(span) }
        try file.truncate(to: 2 << 20)
        try file.close()
        let bytes = try content(name)
        #expect(bytes.count == 2 << 20)
        #expect(bytes.starts(with: Array("start\0".utf8)))
        #expect(bytes[(1 << 20)...].starts(with: Array("end\0".utf8)))
        let status = try #require(try directory.status(of: name))
        #expect(status.size == 2 << 20)
        #expect(status.blocks < 100)
    }

    /// Lengths of alternating runs of data and zeros. They are written at once, and in pieces that end anywhere.
    @Test(
        "Only long runs of zeros become holes",
        arguments: [
            [5], [0, 200_000], [0, 200_000, 1], [1, 200_000],
            [100_000, 300_000, 7, 65_536, 131_072, 1 << 20],
            [65_536, 65_536, 65_536], [1, 10, 1, 10, 1], [0, 1 << 20],
        ], [1 << 20, 70_001, 511])
    func sparse(runs: [Int], piece: Int) throws {
        var bytes = [UInt8]()
        for (index, count) in runs.enumerated() {
            bytes +=
                index.isMultiple(of: 2)
                ? Bytes.noise(count).array.map { $0 | 1 } : Array(repeating: 0, count: count)
        }
        guard let file = try directory.createFile(name, mode: 0o600) else {
            Issue.record("the name is taken")
            return
        }
        var written: Int64 = 0
        for start in stride(from: 0, to: bytes.count, by: piece) {
            written += try Array(bytes[start..<min(start + piece, bytes.count)]).withRawSpan {
                span throws(SyscallFailure) in try file.writeSparsely(span, at: Int64(start))
            }
        }
        try file.truncate(to: Int64(bytes.count))
        try file.close()
        #expect(try content(name) == bytes)
        let data = Int64(bytes.count { $0 != 0 })
        #expect(written >= data)
        // At each end of a run, up to one hole size of zeros may be written.
        #expect(written <= data + Int64(runs.count / 2) * 131_072)
        #expect(data > 0 || written == 0)
    }

    @Test("A copy has the same bytes and the same holes", arguments: [0, 1, 5000, 3 << 20])
    func copies(offset: Int64) throws {
        let target = FileName(literal: "copy")
        guard let source = try directory.createFile(name, mode: 0o600),
            let copy = try directory.createFile(target, mode: 0o600)
        else {
            Issue.record("a name is taken")
            return
        }
        try Array("data".utf8).withRawSpan { span throws(SyscallFailure) in try source.write(span, at: offset)
        }
        try source.truncate(to: offset + 1_000_000)
        try source.close()
        try copy.copyContent(of: try directory.openFile(name))
        try copy.close()
        #expect(try content(target) == content(name))
        let blocks = try #require(try directory.status(of: target)).blocks
        #expect(blocks < 100)
    }

    @Test("A file is read in pieces until its end")
    func reads() throws {
        let bytes = Bytes.noise(10_000).array
        let path = try temporary.write("f", bytes)
        let file = try File.open(path, .read)
        var all = [UInt8]()
        var piece = [UInt8]()
        repeat {
            try file.read(into: &piece, limit: 3000)
            all += piece
        } while !piece.isEmpty
        #expect(all == bytes)
    }

    @Test("Mode and times are set exactly")
    func metadata() throws {
        let path = try temporary.write("f", [1])
        let file = try File.open(path, .read)
        try file.setMode(0o4751)
        let time = Timestamp(seconds: -3, nanoseconds: 999_999_999)
        try file.setTimes(access: .epoch, modification: time)
        let status = try file.status()
        #expect(status.mode == 0o4751)
        #expect(status.modificationTime == time)
        #expect(status.accessTime == .epoch)
        #expect(status.size == 1)
        #expect(status.kind == .regular)
    }

    @Test(
        "Attributes of all sizes are set and read", .enabled(if: TestEnvironment.canApplyLayers),
        arguments: [0, 1, 256, 257, 2000])
    func attributes(size: Int) throws {
        let place = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let file = try File.open(try place.write("f", []), .read)
        let value = Bytes.noise(size).array
        let attribute = AttributeName(literal: "user.test")
        #expect(try file.extendedAttribute(attribute) == nil)
        try file.setExtendedAttribute(attribute, value)
        #expect(try file.extendedAttribute(attribute) == value)
        let parent = try Directory(opening: place.path)
        #expect(try parent.extendedAttribute(attribute, of: name) == value)
        // More names than fit into the first buffer.
        let many = (10..<60).map { AttributeName(literal: "user.a-name-of-some-length-\($0)") }
        for other in many { try file.setExtendedAttribute(other, []) }
        #expect(try file.extendedAttributeNames().sorted() == many + [attribute])
        #expect(try parent.extendedAttributeNames(of: name).sorted() == many + [attribute])
        try file.removeExtendedAttribute(attribute)
        #expect(try file.extendedAttribute(attribute) == nil)
    }

    @Test("A refused call is reported with its reason")
    func failures() throws {
        let missing = temporary.path.appending("missing")
        let failure = #expect(throws: SyscallFailure.self) { _ = try File.open(missing, .read) }
        #expect(failure?.isMissing == true)
        #expect(failure?.path == escaped(missing))
        let full = try File.open("/dev/full", .readWriteCreate)
        let failed = #expect(throws: SyscallFailure.self) {
            try [UInt8](repeating: 1, count: 10).withRawSpan { span throws(SyscallFailure) in
                try full.write(span)
            }
        }
        #expect(failed?.isOutOfSpace == true)
    }

    @Test("A path is resolved through symlinks")
    func resolves() throws {
        try directory.makeSymlink(FileName(literal: "l"), target: Array("d/../d".utf8))
        _ = try temporary.makeDirectory("d")
        let real = try temporary.path.resolved()
        #expect(try temporary.path.appending("l").resolved() == real.appending("d"))
        #expect(throws: SyscallFailure.self) { try temporary.path.appending("missing").resolved() }
    }
}
