import Archive
import Fuzzing
import Kernel
import Streams
import TestSupport

/// Reads the input with `LayerReader` twice: in one block, and in blocks of an unaligned size. Both results must be
/// equal.
@c(LLVMFuzzerTestOneInput) public func test(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    let tar = Array(UnsafeBufferPointer(start: data, count: size))
    let whole = read(tar, blockSize: max(1, size))
    let pieces = read(tar, blockSize: 100 + size % 1499)
    // Nothing is read from a block with an error, so a rejected tar may have more entries with smaller blocks.
    let isSame =
        whole.isComplete ? whole == pieces : !pieces.isComplete && pieces.entries.starts(with: whole.entries)
    insist(isSame, "the result depends on the block size: \(whole) and \(pieces)")
    return 0
}

@c(LLVMFuzzerCustomMutator) public func mutate(
    _ data: UnsafeMutablePointer<UInt8>?, _ size: Int, _ maximum: Int, _ seed: UInt32
) -> Int { TarMutator.mutate(data, size, maximum, seed: seed, names: names) }

@c(LLVMFuzzerInitialize) public func initialize(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    let long = Bytes([UInt8](repeating: UInt8(ascii: "n"), count: 150))
    let sparse: [(key: String, value: Bytes)] = [
        ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "5000"),
    ]
    var mapped = TarEntry.file("s", Bytes(TarEntry.padded(Array("1\n4000\n4\n".utf8)) + Array("abcd".utf8)))
    mapped.records = sparse
    writeSeeds(
        [
            LayerBuilder(
                .directory("d"), .file("d/f", "x"), .symlink("l", to: "d/f"), .hardLink("h", to: "d/f"),
                .fifo("p"), .character("c", 1, 3), .block("b", 8, 0)),
            LayerBuilder([.file(long, "x").withGNUNames(), .symlink(long, to: long)], end: .oneZeroBlock),
            LayerBuilder(
                [
                    .globalHeader("comment", "x"),
                    .file("f", "x").at(-1, 5).xattr("user.a", "b").pax("uid", "7"),
                ],
                trailer: [1, 2, 3]),
            LayerBuilder([.file("f").pax("SCHILY.acl.access", "user::rwx,user:7:r--,group::r-x,other::---")]),
            LayerBuilder([mapped, .file("after")], end: .nothing),
        ].map(\.tar))
    return 0
}

private let names: [Bytes] = [
    "f", "d", "d/", "d/f", "/", ".", "..", "../f", "./d//f/", "", "\u{fc}", [0xFF, 0x2F, 0xFE],
    Bytes(String(repeating: "n", count: 255)), Bytes(String(repeating: "n", count: 256)),
    Bytes(String(repeating: "d/", count: 60)), "GNUSparseFile.0/f", "././@LongLink", "._f",
]

/// The entries read, and whether the tar was accepted.
private struct Finding: Equatable {
    var entries = [Found]()
    var isComplete = false

    struct Found: Equatable {
        let path: EntryPath
        let content: Entry.Content
        let metadata: Metadata
        let offset: Int64
        /// A checksum of the bytes and their offsets, independent of block boundaries.
        var sum: UInt64 = 0
    }
}

private func read(_ tar: [UInt8], blockSize: Int) -> Finding {
    let ring = BlockRing(readers: 1, blockSize: blockSize, blockCount: tar.count / blockSize + 1)
    for start in stride(from: 0, to: tar.count, by: blockSize) {
        _ = ring.produce { block in
            let piece = tar[start..<min(start + blockSize, tar.count)]
            block.withUnsafeMutableBytes { $0.copyBytes(from: piece) }
            return piece.count
        }
    }
    ring.finish()
    var finding = Finding()
    do {
        var reader = try LayerReader(ring, reader: 0)
        while let entry = try reader.next() {
            check(entry)
            var found = Finding.Found(
                path: entry.path, content: entry.content, metadata: entry.metadata, offset: entry.offset)
            var end: Int64 = 0
            while try reader.nextData({ (offset: Int64, bytes: RawSpan) throws(SyscallFailure) in
                insist(offset >= end, "data goes backwards")
                end = offset + Int64(bytes.byteCount)
                bytes.withUnsafeBytes {
                    for (index, byte) in $0.enumerated() {
                        let place = UInt64(offset) &+ UInt64(index)
                        found.sum &+= (UInt64(byte) + 1) &* (place &* 0x9E37_79B9 | 1)
                    }
                }
            }) {}
            if case .regular(let size) = entry.content {
                insist(end <= size, "\(end) bytes in a file of \(size)")
            } else {
                insist(end == 0, "data in an entry without content")
            }
            finding.entries.append(found)
        }
        try reader.finish()
        finding.isComplete = true
    } catch {
        // Every failure must have a description, and building it must not trap.
        insist(!"\(error)".isEmpty, "rejected without a reason")
    }
    return finding
}

/// Checks the invariants that the applier relies on.
private func check(_ entry: Entry) {
    let metadata = entry.metadata
    insist(metadata.mode <= 0o7777 && metadata.uid != .max && metadata.gid != .max, "\(metadata)")
    insist(metadata.modificationTime.nanoseconds < 1_000_000_000, "\(metadata)")
    insist(metadata.accessTime.nanoseconds < 1_000_000_000, "\(metadata)")
    let names = metadata.extendedAttributes.map(\.name)
    insist(zip(names, names.dropFirst()).allSatisfy { $0 < $1 }, "duplicate or unsorted attributes")
    if case .regular(let size) = entry.content { insist(size >= 0, "a size of \(size)") }
}
