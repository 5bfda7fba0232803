import Archive
import TestSupport
import Testing

@Suite("Sparse files") struct SparseTests {
    /// Content with 40 pieces of data: more than one map block of the old format.
    private static let content: [UInt8] = {
        var bytes = [UInt8](repeating: 0, count: 40 << 16)
        for index in 0..<40 { bytes[index << 16] = UInt8(index + 1) }
        return bytes + [7]
    }()

    /// A tar of a sparse file, written by GNU tar.
    private func tar(_ format: [String]) throws -> [UInt8] {
        let folder = try TemporaryDirectory()
        try folder.write("sparse", Self.content)
        let script =
            "cp --sparse=always sparse f && touch after && exec tar --sparse --hole-detection=raw \"$@\" -cf - f after"
        let command = try Command.run("sh", "-c", script, "sh", format[0], format.last ?? "", in: folder.path)
        return try command.succeed().output
    }

    @Test(
        "Sparse files of GNU tar are read with their holes",
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
        #expect(stored < Self.content.count / 4, "\(stored) bytes were stored")
    }

    @Test("A file that is a hole and a file that ends with a hole are read")
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

    @Test("The name in a sparse record takes precedence over the others in any order")
    func names() throws {
        let entries = try read(
            .sparse("made/up", "2\n0\n1\n9\n0\n", "a", size: 9).pax("path", "path").pax(
                "GNU.sparse.name", "n"),
            .sparse("made/up", "1\n8\n1\n", "b", size: 9).pax("GNU.sparse.name", "m").pax("path", "path"),
            .file("c", "c").pax("GNU.sparse.name", "o").pax("GNU.sparse.size", "1").pax(
                "GNU.sparse.map", "0,1"))
        #expect(entries.map(\.path) == ["n", "m", "o"])
        #expect(entries.map(\.data) == [[97] + zeros(8), zeros(8) + [98], [99]])
    }

    @Test(
        "A map may span several blocks, in the body or before it",
        arguments: [512, 1000, 1 << 20])
    func longMaps(blockSize: Int) throws {
        let pieces = (0..<2000).map { (offset: Int64($0) * 1000, length: Int64(1)) }
        let text = "2000\n" + pieces.map { "\($0.offset)\n\($0.length)\n" }.joined()
        let data = Bytes.noise(2000)
        let tar = LayerBuilder(
            .oldSparse("old", pieces, data, size: 2_000_000),
            .sparse("new", Bytes(text), data, size: 2_000_000),
            .sparse("empty", "0\n", "", size: 7), .file("after", "x")
        ).tar
        let entries = try read(tar, blockSize: blockSize)
        #expect(entries.map(\.path) == ["old", "new", "empty", "after"])
        let expected = data.array.flatMap { [$0] + zeros(999) }
        #expect(entries[0].data == expected)
        #expect(entries[1].data == expected)
        #expect(entries[2].data == zeros(7))
    }

    @Test(
        "A map that does not fit its file is rejected",
        arguments: [
            (
                .oldSparse("f", [(0, 2), (1, 1)], "abc", size: 9),
                "a sparse map whose pieces are not in order"
            ),
            (.oldSparse("f", [(-1, 3)], "abc", size: 9), "a sparse map whose pieces are not in order"),
            (.oldSparse("f", [(7, 3)], "abc", size: 9), "a sparse map beyond the file's 9 bytes"),
            (.oldSparse("f", [(0, 2)], "abc", size: 9), "a sparse map of 2 bytes for 3 bytes of data"),
            (.oldSparse("f", [(0, 4)], "abc", size: 9), "a sparse map of 4 bytes for 3 bytes of data"),
            (.oldSparse("f", [(0, 3)], "abc", size: -1), "an unreadable size"),
            (
                .oldSparse("f", (0..<9).map { ($0 * 2, 1) }, "abc", size: 99),
                "a sparse map of 9 bytes for 3 bytes of data"
            ),
            (.sparse("f", "1\n7\n3\n", "abc", size: 9), "a sparse map beyond the file's 9 bytes"),
            (.sparse("f", "1\n0\n2\n", "abc", size: 9), "a sparse map of 2 bytes for 3 bytes of data"),
            (.sparse("f", "2\n0\n3\n", "", size: 9), "an unreadable number in the sparse map"),
            (.sparse("f", "x\n", "abc", size: 9), "an unreadable number in the sparse map"),
            (.sparse("f", "\n", "abc", size: 9), "an unreadable number in the sparse map"),
            (.sparse("f", "1\n# remark\n0\n3\n", "abc", size: 9), "an unreadable number in the sparse map"),
            (
                .sparse("f", "1\n9223372036854775808\n0\n", "abc", size: 9),
                "an unreadable number in the sparse map"
            ),
            (
                .sparse("f", "1\n9223372036854775807\n1\n", "abc", size: 9),
                "a sparse map whose pieces are not in order"
            ),
            (
                .sparse("f", "1\n0\n3\n", "abc", size: 9).withSize(5),
                "a sparse map that is longer than its entry"
            ),
            (.sparse("f", "65537\n0\n0\n", "abc", size: 9), "a sparse map of more than 65536 pieces"),
            (.file("f", "abc").pax("GNU.sparse.map", "0,3"), "an incomplete sparse map"),
            (.file("f", "abc").pax("GNU.sparse.size", "3"), "an incomplete sparse map"),
            (.file("f", "abc").pax("GNU.sparse.name", "g"), "an incomplete sparse map"),
            (
                .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.map", "0,3,4"),
                "an incomplete sparse map"
            ),
            (
                .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.map", ""),
                "an incomplete sparse map"
            ),
            (
                .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.map", "0,-3"),
                "an incomplete sparse map"
            ),
            (
                .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.numblocks", "2")
                    .pax("GNU.sparse.map", "0,3"), "an incomplete sparse map"
            ),
            (
                .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.offset", "0")
                    .pax("GNU.sparse.numbytes", "3"), "an incomplete sparse map"
            ),
            (
                .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.numblocks", "1")
                    .pax("GNU.sparse.numbytes", "3").pax("GNU.sparse.offset", "0"),
                "an incomplete sparse map"
            ),
            (
                .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.map", "0,3")
                    .pax("GNU.sparse.map", "0,3"), "an incomplete sparse map"
            ),
            (
                .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.major", "1"),
                "a sparse map of an unknown version"
            ),
            (
                .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.major", "2")
                    .pax("GNU.sparse.minor", "0"), "a sparse map of an unknown version"
            ),
            (
                .directory("d").pax("GNU.sparse.size", "0").pax("GNU.sparse.map", "0,0"),
                "an unexpected sparse map"
            ),
            (
                .file("f", "abc").type(UInt8(ascii: "7")).pax("GNU.sparse.size", "3")
                    .pax("GNU.sparse.map", "0,3"), "an unexpected sparse map"
            ),
        ] as [(TarEntry, String)])
    func refused(entry: TarEntry, reason: String) {
        for others in [[], [TarEntry.file("before", "x")]] {
            let tar = LayerBuilder(others + [entry, .file("after")]).tar
            let failure = #expect(throws: ArchiveFailure.self) { try read(tar) }
            #expect(failure?.reason.description == reason)
        }
    }

    @Test("A map with too many pieces is rejected in each format")
    func limits() {
        let pieces = [(offset: Int64, length: Int64)](repeating: (0, 0), count: SparseLimit.pieces + 1)
        let map = Bytes(String(repeating: "0,0,", count: SparseLimit.pieces) + "0,0")
        let endless = TarEntry.oldSparse("f", pieces, "", size: 9)
        for entry in [endless, .file("f").pax("GNU.sparse.size", "9").pax("GNU.sparse.map", map)] {
            let failure = #expect(throws: ArchiveFailure.self) { try read(entry) }
            #expect(failure?.reason.description == "a sparse map of more than \(SparseLimit.pieces) pieces")
        }
    }
}

private enum SparseLimit { static let pieces = 65_536 }

/// A number in GNU's base 256.
private func number(_ value: Int64) -> [UInt8] {
    value < 0 ? [UInt8](repeating: 0xFF, count: 12) : [0x80, 0, 0, 0] + littleEndian(value).reversed()
}

private func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

extension TarEntry {
    /// A file in GNU's format 1.0, with the map before the data.
    fileprivate static func sparse(_ path: Bytes, _ map: Bytes, _ data: Bytes, size: Int) -> TarEntry {
        TarEntry.file(path, Bytes(padded(map.array) + data.array)).pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0").pax("GNU.sparse.realsize", "\(size)")
    }

    /// A file in GNU's old format: four pieces in the header, the others in blocks after it.
    fileprivate static func oldSparse(
        _ path: Bytes, _ pieces: [(offset: Int64, length: Int64)], _ data: Bytes, size: Int64
    ) -> TarEntry {
        func block(_ pieces: ArraySlice<(offset: Int64, length: Int64)>, isLast: Bool) -> [UInt8] {
            let map = pieces.flatMap { number($0.offset) + number($0.length) }
            return map + zeros(504 - map.count) + [isLast ? 0 : 1] + zeros(7)
        }
        var blocks = [UInt8]()
        var rest = pieces.dropFirst(4)
        while !rest.isEmpty {
            blocks += block(rest.prefix(21), isLast: rest.count <= 21)
            rest = rest.dropFirst(21)
        }
        let isContinued = !blocks.isEmpty
        let map = pieces.prefix(4).flatMap { number($0.offset) + number($0.length) }
        return TarEntry.file(path, Bytes(blocks + data.array)).type(UInt8(ascii: "S"))
            .withSize(Int64(data.array.count))
            .editing { header in
                header.replaceSubrange(257..<265, with: Array("ustar  \0".utf8))
                header.replaceSubrange(386..<386 + map.count, with: map)
                header[482] = isContinued ? 1 : 0
                header.replaceSubrange(483..<495, with: number(size))
            }
    }
}
