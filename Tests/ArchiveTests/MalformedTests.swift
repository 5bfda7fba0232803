import Archive
import Kernel
import Streams
import TestSupport
import Testing

private let body = Bytes(String(repeating: "x", count: 700))

/// Adds a sparse map of one piece and a continuation flag to a header, under GNU's or another magic.
///
/// - Parameter size: value of each byte of the file's size.
private func sparseMap(magic: String, size: UInt8 = 0) -> @Sendable (inout [UInt8]) -> Void {
    { header in
        header.replaceSubrange(257..<265, with: Array(magic.utf8))
        header.replaceSubrange(386..<410, with: Array("00000000000\u{0}00000000000\u{0}".utf8))
        header[482] = 1
        header.replaceSubrange(483..<495, with: [UInt8](repeating: size, count: 12))
    }
}

/// The kind of a failure, without its text.
private enum Problem: Equatable {
    case malformed, unreadable, type(UInt8), name, range, truncated

    init?(_ failure: ArchiveFailure?) {
        switch failure?.reason {
        case .malformed: self = .malformed
        case .unreadable: self = .unreadable
        case .unknownType(let flag): self = .type(flag)
        case .invalidName: self = .name
        case .outOfRange: self = .range
        case .truncated: self = .truncated
        case .cancelled, nil: return nil
        }
    }
}

@Suite("Malformed layers") struct MalformedTests {
    @Test(
        "An entry with an invalid header is rejected",
        arguments: [
            (.file("f").type(UInt8(ascii: "Z")), .type(UInt8(ascii: "Z"))),
            (.file("f").type(UInt8(ascii: "D")), .type(UInt8(ascii: "D"))),
            (.file("f").type(UInt8(ascii: "M")), .type(UInt8(ascii: "M"))),
            (.file("f").type(0xFF), .type(0xFF)),
            (.file("f").withWrongChecksum(), .malformed),
            (.symlink("l", to: "x").pax("size", "512"), .malformed),
            (.hardLink("l", to: "x").pax("a", "b").withSize(3), .malformed),
            (.directory("d").pax("size", "512"), .malformed),
            (.fifo("p").pax("size", "1"), .malformed),
            (.file("f").withSize(-1), .malformed),
            (.file("f").pax("size", "-1"), .malformed),
            (.file("f").pax("size", "9223372036854775807"), .malformed),
            (.file("f").pax("size", "x"), .malformed),
            (.file("f", body).pax("size", "+700"), .malformed),
            (.file("d/", body), .malformed),
            (.file("f").editing(sparseMap(magic: "ustar  \0")), .malformed),
            (.file("f").type(UInt8(ascii: "S")).editing(sparseMap(magic: "ustar\u{0}00")), .malformed),
            (.file("f").type(UInt8(ascii: "S")), .malformed),
            (
                .file("f").type(UInt8(ascii: "S")).editing(sparseMap(magic: "ustar  \0", size: 0xFF)),
                .malformed
            ),
            (.file("f").pax("mtime", "tomorrow"), .malformed),
            (.file("f").pax("mtime", "1e9"), .malformed),
            (.file("f").pax("path", "a\0b"), .malformed),
            (.symlink("l", to: "x").pax("linkpath", "a\0b"), .malformed),
            (.file("f").pax("SCHILY.xattr.", "x"), .malformed),
            (.file("f").pax("SCHILY.xattr.user.\(String(repeating: "n", count: 256))", "x"), .malformed),
            (.file("f").pax("comment", Bytes(String(repeating: "x", count: 1 << 20))), .malformed),
            (.file("f").editing { $0[124] = UInt8(ascii: "9") }, .malformed),
            (.symlink("l", to: ""), .name),
            (.file(Bytes(String(repeating: "n", count: 256))), .name),
            (.file("f").owned(4_294_967_295, 0), .range),
            (.file("f").owned(0, 4_294_967_295), .range),
            (.file("f").owned(1 << 40, 0), .range),
            (.file("f").owned(0, -1), .range),
            (.file("f").owned(-2, 0), .range),
            (.file("f").pax("uid", "4294967295"), .range),
            (.file("f").pax("gid", "99999999999"), .range),
            (.character("c", 4096, 0), .range),
            (.block("b", 0, 1_048_576), .range),
            (.character("c", -1, 0), .range),
        ] as [(TarEntry, Problem)])
    fileprivate func refused(entry: TarEntry, problem: Problem) {
        for others in [[], [TarEntry.file("before", "x")]] {
            let tar = LayerBuilder(others + [entry, .file("after")]).tar
            let failure = #expect(throws: ArchiveFailure.self) { try read(tar) }
            #expect(Problem(failure) == problem, "\(failure?.description ?? "")")
        }
    }

    @Test(
        "A malformed PAX record is rejected",
        arguments: ["x", "4 a=\n", "99 path=a\n", "11 path=abc", "-1 path=a\n", "9 pathaa\n", " path=a\n"])
    func records(text: String) {
        var header = TarEntry("x", "PaxHeaders/f")
        header.contents = Bytes(text)
        #expect(throws: ArchiveFailure.self) { try read(LayerBuilder(header, .file("f")).tar) }
    }

    @Test(
        "An archive may end with zero blocks, without them, or with data after its end",
        arguments: [
            ("two zero blocks", LayerBuilder(.file("a", body)), true),
            ("one zero block", LayerBuilder([.file("a", body)], end: .oneZeroBlock), true),
            ("no zero blocks", LayerBuilder([.file("a", body)], end: .nothing), true),
            ("any data after the end", LayerBuilder([.file("a")], trailer: Bytes.noise(5000).array), true),
            (
                "an entry after the end", LayerBuilder([.file("a")], trailer: TarEntry.file("b").encoded),
                true
            ),
            (
                "an entry after a single zero block",
                LayerBuilder([.file("a")], end: .oneZeroBlock, trailer: TarEntry.file("b").encoded), false
            ),
            (
                "noise after a single zero block",
                LayerBuilder([.file("a")], end: .oneZeroBlock, trailer: Bytes.noise(512).array), false
            ),
            (
                "noise instead of a header",
                LayerBuilder([.file("a")], end: .nothing, trailer: Bytes.noise(512).array), false
            ),
            (
                "half a header",
                LayerBuilder(
                    [.file("a")], end: .nothing, trailer: Array(TarEntry.file("b").encoded.prefix(100))),
                false
            ),
        ])
    func ends(name: String, layer: LayerBuilder, isRead: Bool) throws {
        for blockSize in [512, 1000, 1 << 20] {
            if isRead {
                #expect(try read(layer.tar, blockSize: blockSize).map(\.path) == ["a"])
            } else {
                #expect(throws: ArchiveFailure.self) { try read(layer.tar, blockSize: blockSize) }
            }
        }
    }

    @Test("Layers without entries are empty", arguments: [0, 512, 1024, 10240])
    func empty(zeros: Int) throws {
        #expect(try read([UInt8](repeating: 0, count: zeros)).map(\.path) == [])
    }

    @Test("A truncated layer is rejected unless it ends between two entries or in padding")
    func truncated() throws {
        let entries: [TarEntry] = [
            .directory("d"), .file("d/f", body), .file("x").xattr("user.a", body),
            .file(Bytes(String(repeating: "n", count: 200))).withGNUNames(), .symlink("l", to: "d"),
        ]
        let tar = LayerBuilder(entries, end: .nothing).tar
        // Number of complete entries by length of the tar.
        var whole = [0: 0]
        var end = 0
        for (index, entry) in entries.enumerated() {
            end += entry.encoded.count
            let padding = (512 - entry.contents.array.count % 512) % 512
            for length in (end - padding)...end { whole[length] = index + 1 }
        }
        let ends = whole.keys.flatMap { [$0 - 1, $0, $0 + 1] }.filter { (0...tar.count).contains($0) }
        for length in Set(stride(from: 0, through: tar.count, by: 256)).union(ends) {
            let cut = Array(tar.prefix(length))
            for blockSize in [512, 1000, 1 << 20] {
                if let count = whole[length] {
                    let entries = try read(cut, blockSize: blockSize)
                    #expect(entries.count == count, "cut at \(length)")
                    #expect(entries.allSatisfy { $0.path != "d/f" || $0.data == body.array })
                } else {
                    #expect(throws: ArchiveFailure.self, "cut at \(length)") {
                        try read(cut, blockSize: blockSize)
                    }
                }
            }
        }
    }

    @Test("The padding of a sparse file or global header at the end may be missing, but no data")
    func truncatedForms() throws {
        let sparse = TarEntry.file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.map", "0,1,5,2")
        let map = Bytes(TarEntry.padded(Array("1\n0\n3\n".utf8)) + Array("abc".utf8))
        let new = TarEntry.file("f", map).pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", "9")
        for entry in [sparse, new] {
            let tar = entry.encoded
            for missing in [0, 1, 508, 509] { #expect(try read(Array(tar.dropLast(missing))).count == 1) }
            for missing in [510, 511, 512] {
                #expect(throws: ArchiveFailure.self) { try read(Array(tar.dropLast(missing))) }
            }
        }
        let global = TarEntry.file("f").encoded + TarEntry.globalHeader("a", "b").encoded.dropLast(100)
        #expect(try read(global).count == 1)
        // An extended header for a single entry must be followed by one.
        let header = TarEntry.file("f").pax("a", "b").encoded.prefix(1000)
        #expect(throws: ArchiveFailure.self) { try read(Array(header)) }
    }

    @Test("A flipped byte in a header is detected by the checksum", arguments: SampleTar.single)
    func flipped(sample: SampleTar) {
        for header in sample.headers {
            for offset in header..<(header + 512) {
                let failure = #expect(throws: ArchiveFailure.self) { try read(sample.flipping(offset)) }
                #expect(failure?.offset == Int64(header), "byte \(offset): \(String(describing: failure))")
            }
        }
    }

    @Test(
        "With a correct checksum, any changed byte or field is read or rejected with an offset",
        arguments: SampleTar.single)
    func summed(sample: SampleTar) throws {
        let tars = sample.headers.flatMap { header in
            (0..<512).filter { !(148..<156).contains($0) }.map { sample.flipping($0, ofHeader: header) }
                + sample.changingFields(ofHeader: header)
        }
        var applied = 0
        for tar in tars {
            do {
                applied += try read(tar, keepsData: false).isEmpty ? 0 : 1
            } catch let failure as ArchiveFailure {
                #expect((0...Int64(tar.count)).contains(failure.offset), "\(failure)")
            }
        }
        #expect(applied > 0 && applied < tars.count)
    }

    @Test("Nothing is read after a rejected header", arguments: [0, 1])
    func stops(before: Int) throws {
        let endless = TarEntry("x", "PaxHeaders/f").withSize(1 << 26)
        let entries = Array(repeating: TarEntry.file("before", "x"), count: before) + [endless]
        let tar = LayerBuilder(entries + [.file("f", .noise(4096))], end: .nothing).tar
        let ring = BlockRing(readers: 1, blockSize: 1024, blockCount: tar.count / 1024)
        for start in stride(from: 0, to: tar.count - 1023, by: 1024) {
            _ = ring.produce { block in
                block.withUnsafeMutableBytes { $0.copyBytes(from: tar[start..<(start + 1024)]) }
                return 1024
            }
        }
        ring.finish()
        let failure = #expect(throws: ArchiveFailure.self) {
            var reader = try LayerReader(ring, reader: 0)
            while try reader.next() != nil {}
        }
        #expect(failure?.offset == Int64(1024 * before))
        var left = 0
        while ring.next(reader: 0) != nil { left += 1 }
        #expect(left == tar.count / 1024 - before - 1)
    }

    @Test("A cancelled stream is reported as cancelled")
    func cancelled() throws {
        let ring = BlockRing(readers: 1)
        ring.cancel()
        let failure = #expect(throws: ArchiveFailure.self) {
            var reader = try LayerReader(ring, reader: 0)
            _ = try reader.next()
        }
        #expect(failure?.reason == .cancelled)
    }
}
