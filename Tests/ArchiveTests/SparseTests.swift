import Archive
import TestSupport
import Testing

@Suite("Sparse files") struct SparseTests {
    /// Data in 40 places: more than one map block of the old form.
    private static let content: [UInt8] = {
        var bytes = [UInt8](repeating: 0, count: 40 << 16)
        for index in 0..<40 { bytes[index << 16] = UInt8(index + 1) }
        return bytes + [7]
    }()

    /// A tar of a sparse file, by GNU tar itself.
    private func tar(_ format: [String]) throws -> [UInt8] {
        let folder = try TemporaryDirectory()
        try folder.write("sparse", Self.content)
        let script =
            "cp --sparse=always sparse f && touch after && exec tar --sparse --hole-detection=raw \"$@\" -cf - f after"
        let command = try Command.run("sh", "-c", script, "sh", format[0], format.last ?? "", in: folder.path)
        return try command.succeed().output
    }

    @Test(
        "What GNU tar writes is read with its holes",
        arguments: [
            ["--format=gnu"], ["--format=pax", "--sparse-version=0.0"],
            ["--format=pax", "--sparse-version=0.1"],
            ["--format=pax", "--sparse-version=1.0"],
        ], [512, 1000, 1 << 20])
    func gnu(format: [String], blockSize: Int) throws {
        let entries = try read(try tar(format), blockSize: blockSize)
        #expect(entries.map(\.path) == ["f", "after"])
        let file = try #require(entries.first)
        #expect(file.data == Self.content)
        #expect(file.entry.content == .regular(size: Int64(Self.content.count)))
        let stored = file.pieces.reduce(0) { $0 + $1.count }
        #expect(stored < Self.content.count / 4, "\(stored) bytes were no hole")
    }

    @Test("A file that is one hole, and one that ends in a hole")
    func holes() throws {
        let record: Bytes = "1000000"
        let entries = try read(
            .file("hole").pax("GNU.sparse.size", record).pax("GNU.sparse.numblocks", "1")
                .pax("GNU.sparse.map", "1000000,0"),
            .file("tail", "abc").pax("GNU.sparse.size", record).pax("GNU.sparse.numblocks", "2")
                .pax("GNU.sparse.map", "0,3,1000000,0"),
            .file("after", "x"))
        #expect(entries.map { $0.data.count } == [1_000_000, 1_000_000, 1])
        #expect(entries[1].data.starts(with: Array("abc".utf8)))
        #expect(entries.map(\.path) == ["hole", "tail", "after"])
    }
}
