import Compression
import Kernel
import TestSupport
import Testing

private func compress(_ bytes: [UInt8], _ format: CompressionFormat, pieces: Int = 1 << 20) throws -> [UInt8]
{
    var compressor = try Compressor(format)
    var packed = [UInt8]()
    func take(_ span: RawSpan) { span.withUnsafeBytes { packed += $0 } }
    for start in stride(from: 0, to: bytes.count, by: pieces) {
        try Array(bytes[start..<min(start + pieces, bytes.count)]).withRawSpan {
            try compressor.compress($0, take)
        }
    }
    try compressor.finish(take)
    return packed
}

private let text = (0..<100_000).flatMap { Array("line \($0 % 977)\n".utf8) }

@Suite("Compression of streams") struct CompressorTests {
    @Test("Compressed bytes decompress to the same bytes", arguments: [CompressionFormat.none, .gzip, .zstd])
    func roundTrip(format: CompressionFormat) throws {
        let contents = [
            [], [7], Bytes.noise(1 << 18).array, Bytes.noise((1 << 18) + 1).array, text,
            text + Bytes.noise(700_000).array + [UInt8](repeating: 0, count: 3_000_000),
        ]
        for bytes in contents {
            let packed = try compress(bytes, format)
            #expect(try decompress(packed, format) == bytes)
            if format != .none { #expect(packed.count < bytes.count + bytes.count / 1000 + 100) }
        }
        if format != .none { #expect(try compress(text, format).count < text.count / 4) }
    }

    @Test(
        "gzip(1) and zstd(1) decompress the streams",
        arguments: [("gzip", CompressionFormat.gzip), ("zstd", .zstd)])
    func others(program: String, format: CompressionFormat) throws {
        guard TestEnvironment.has(program) else { return }
        let bytes = text + Bytes.noise(300_000).array
        #expect(try Command.run(program, "-dc", input: compress(bytes, format)).succeed().output == bytes)
    }

    @Test(
        "The stream does not depend on the length of the pieces", arguments: [CompressionFormat.gzip, .zstd])
    func pieces(format: CompressionFormat) throws {
        let bytes = Array(text.prefix(600_000)) + Bytes.noise(100_000).array
        let packed = try compress(bytes, format)
        for pieces in [1 << 18, 100_001, 4096, 511] {
            #expect(try compress(bytes, format, pieces: pieces) == packed)
        }
    }

    @Test("A gzip member has no name and no time; a zstd frame has a checksum")
    func headers() throws {
        #expect(try compress([1], .gzip).prefix(8) == [0x1F, 0x8B, 8, 0, 0, 0, 0, 0])
        var packed = try compress(text, .zstd)
        // RFC 8878, section 3.1.1.1.1: the flag, and four bytes at the end.
        #expect(packed[4] & 4 == 4)
        packed[packed.count - 1] ^= 1
        #expect(throws: CompressionFailure.self) { try decompress(packed, .zstd) }
    }
}
