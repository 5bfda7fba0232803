import Compression
import TestSupport
import Testing

@Suite("Detection of a blob's format") struct SniffingTests {
    @Test(
        "The format is detected from the first bytes",
        arguments: [
            ([], .none),
            ([UInt8](repeating: 0, count: 512), .none),
            (LayerBuilder(.file("a")).tar, .none),
            (LayerBuilder(.file("a").at(-5, 3)).tar, .none),
            (LayerBuilder(.file(Bytes("BZh"))).tar, .none),
            (signedTar, .none),
            (Packing.gzip.pack([1]), .gzip),
            ([0x1F, 0x8B], .gzip),
            (Packing.zstd.pack([1]), .zstd),
            ([0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0], .zstd),
            ([0x5F, 0x2A, 0x4D, 0x18, 0, 0, 0, 0], .zstd),
        ] as [([UInt8], CompressionFormat)])
    func known(start: [UInt8], format: CompressionFormat) throws {
        #expect(try sniff(start) == format)
    }

    @Test(
        "An unsupported format is rejected with its name",
        arguments: [
            ([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00, 1], "xz"),
            (Array("BZh91AY".utf8), "bzip2"),
            ([0x04, 0x22, 0x4D, 0x18, 1], "lz4"),
            ([0x1F], nil),
            ([0x60, 0x2A, 0x4D, 0x18], nil),
            (Array("not a layer at all".utf8), nil),
            ([UInt8](repeating: 0, count: 511), nil),
            ([UInt8](repeating: 0x20, count: 512), nil),
            (LayerBuilder(.file("a").withWrongChecksum()).tar, nil),
        ] as [([UInt8], String?)])
    func refused(start: [UInt8], name: String?) {
        #expect(throws: CompressionFailure.unknownFormat(name)) { try sniff(start) }
    }
}

/// A header with a Latin-1 name and its checksum over signed bytes, as some old tar programs wrote it.
private let signedTar: [UInt8] = {
    var tar = LayerBuilder(.file("caf")).tar
    tar[3] = 0xE9
    tar.replaceSubrange(148..<156, with: Array(repeating: UInt8(ascii: " "), count: 8))
    let sum = tar[..<512].reduce(0) { $0 + Int(Int8(bitPattern: $1)) }
    let digits = String(sum, radix: 8)
    tar.replaceSubrange(
        148..<155, with: Array((String(repeating: "0", count: 6 - digits.count) + digits).utf8) + [0])
    return tar
}()
