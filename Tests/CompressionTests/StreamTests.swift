import Compression
import TestSupport
import Testing

/// Content that is half compressible and half not.
private let content: [UInt8] =
    (0..<40_000).flatMap { Array("line \($0 % 50)\n".utf8) } + Bytes.noise(300_000).array

private func gzip(_ bytes: [UInt8]) throws -> [UInt8] {
    try Command.run("gzip", "-c", input: bytes).succeed().output
}

private func zstd(_ bytes: [UInt8]) throws -> [UInt8] {
    try Command.run("zstd", "-c", "-q", input: bytes).succeed().output
}

private let hasZstd = TestEnvironment.has("zstd")

/// A skippable frame (RFC 8878, section 3.1.2).
private let skippable: [UInt8] = [0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 7, 8, 9]

@Suite("Decompression of streams") struct StreamTests {
    @Test(
        "The output does not depend on the sizes of input and output buffers",
        arguments: [(1 << 18, 1 << 20), (1 << 18, 100), (1, 1000), (7, 13), (4096, 4096), (100, 1 << 20)])
    func sizes(input: Int, output: Int) throws {
        let bytes = Array(content.suffix(310_000))
        let packed = try gzip(bytes)
        #expect(try decompress(bytes, .none, inputSize: input, outputSize: output) == bytes)
        #expect(try decompress(packed, .gzip, inputSize: input, outputSize: output) == bytes)
        #expect(try decompress(storedZstd(bytes), .zstd, inputSize: input, outputSize: output) == bytes)
    }

    @Test("Streams of zstd(1) are decompressed", .enabled(if: hasZstd, "the tool zstd is not installed"))
    func zstdTool() throws {
        #expect(try decompress(try zstd(content), .zstd) == content)
        #expect(try decompress(try zstd(content), .zstd, inputSize: 1000, outputSize: 100) == content)
    }

    @Test(
        "Several members or frames form one stream",
        arguments: [
            ("two members", .gzip, storedGzip([1, 2]) + storedGzip([3])),
            ("an empty member", .gzip, storedGzip([1, 2]) + storedGzip([]) + storedGzip([3])),
            ("zeros after the end", .gzip, storedGzip([1, 2, 3]) + [UInt8](repeating: 0, count: 700)),
            ("two frames", .zstd, storedZstd([1, 2]) + storedZstd([3])),
            ("a skippable frame first", .zstd, skippable + storedZstd([1, 2, 3])),
            ("a skippable frame between", .zstd, storedZstd([1, 2]) + skippable + storedZstd([3])),
            ("a skippable frame last", .zstd, storedZstd([1, 2, 3]) + skippable),
        ] as [(String, CompressionFormat, [UInt8])])
    func members(name: String, format: CompressionFormat, blob: [UInt8]) throws {
        for inputSize in [1, 2, 3, 7, 25, 1000] {
            for outputSize in [1, 2, 3, 1000] {
                #expect(
                    try decompress(blob, format, inputSize: inputSize, outputSize: outputSize) == [1, 2, 3],
                    "input \(inputSize), output \(outputSize)")
            }
        }
    }

    @Test(
        "Garbage after the end is rejected",
        arguments: [
            (.gzip, storedGzip([1]) + [7], 24), (.gzip, storedGzip([1]) + [0, 0, 7], 26),
            (.gzip, storedGzip([1]) + [0] + storedGzip([1]), 25),
        ] as [(CompressionFormat, [UInt8], Int64)])
    func garbage(format: CompressionFormat, blob: [UInt8], offset: Int64) {
        for inputSize in [1, 1000] {
            #expect(throws: CompressionFailure.trailingGarbage(format: format, offset: offset)) {
                try decompress(blob, format, inputSize: inputSize)
            }
        }
        #expect(throws: CompressionFailure.self) { try decompress(storedZstd([1]) + [7], .zstd) }
    }

    @Test(
        "Reserved flags in the gzip header of any member are rejected, wherever the input is split",
        arguments: [0x20, 0x40, 0x80, 0xE0, 0xE8] as [UInt8])
    func reservedFlags(flags: UInt8) throws {
        let member = storedGzip([1, 2, 3])
        var flagged = member
        flagged[3] = flags
        for (blob, offset) in [(flagged, 3), (member + flagged, member.count + 3)] {
            for inputSize in [1, 2, 3, 4, 5, 25, 1000] {
                #expect(
                    throws: CompressionFailure.corrupt(
                        format: .gzip, reason: "reserved flags in a gzip header", offset: Int64(offset))
                ) {
                    try decompress(blob, .gzip, inputSize: inputSize)
                }
            }
        }
    }

    /// RFC 1952, section 2.3.1: an extra field, a name, a comment, and a CRC of the header.
    @Test(
        "A gzip header with every field is parsed, wherever the input is split",
        arguments: [0x04, 0x08, 0x10, 0x02, 0x1E] as [UInt8])
    func headerFields(flags: UInt8) throws {
        func blob(sum: [UInt8]) -> [UInt8] {
            var header: [UInt8] = [0x1F, 0x8B, 8, flags, 1, 2, 3, 4, 0, 255]
            if flags & 0x04 != 0 { header += [3, 0, 0x1F, 0, 0x8B] }
            if flags & 0x08 != 0 { header += Array("name\0".utf8) }
            if flags & 0x10 != 0 { header += Array("comment\0".utf8) }
            if flags & 0x02 != 0 { header += sum.isEmpty ? Array(headerChecksum(header)) : sum }
            return header + storedGzip([1, 2, 3]).dropFirst(10)
        }
        for inputSize in [1, 2, 3, 7, 11, 1000] {
            let twice = blob(sum: []) + blob(sum: [])
            #expect(try decompress(twice, .gzip, inputSize: inputSize) == [1, 2, 3, 1, 2, 3])
            if flags & 0x02 == 0 { continue }
            #expect(throws: CompressionFailure.self) {
                try decompress(blob(sum: [0, 0]), .gzip, inputSize: inputSize)
            }
        }
    }

    /// The CRC-16 of a header: the lower half of its CRC-32, taken from the trailer of a gzip member with the same
    /// bytes.
    private func headerChecksum(_ header: [UInt8]) -> ArraySlice<UInt8> {
        storedGzip(header).suffix(8).prefix(2)
    }

    @Test("A stream that is truncated anywhere is rejected", arguments: [CompressionFormat.gzip, .zstd])
    func truncated(format: CompressionFormat) throws {
        let bytes = Array(content.suffix(20_000))
        let packed =
            switch format {
            case .gzip: try gzip(bytes)
            default: hasZstd ? try zstd(bytes) : storedZstd(bytes)
            }
        for length in Array(stride(from: 1, to: packed.count, by: 100)) + [
            packed.count - 1, packed.count - 8,
        ] {
            #expect(throws: CompressionFailure.self, "\(length) of \(packed.count) bytes") {
                try decompress(Array(packed.prefix(length)), format)
            }
        }
    }

    /// A flipped bit in a header may be insignificant (a time, a flag), but must not change the content of a stream
    /// with a checksum.
    @Test("A flipped byte is rejected or changes nothing")
    func flipped() throws {
        let bytes = Array(content.prefix(20_000))
        let packed = try gzip(bytes)
        for position in stride(from: 0, to: packed.count, by: 11) {
            var damaged = packed
            damaged[position] ^= 0x10
            let result = try? decompress(damaged, .gzip)
            #expect(result == nil || result == bytes, "byte \(position)")
            if position >= 18 { #expect(result == nil, "byte \(position) of the data") }
        }
    }

    @Test(
        "A damaged zstd stream is rejected or yields other bytes",
        .enabled(if: hasZstd, "the tool zstd is not installed"))
    func flippedZstd() throws {
        let bytes = Array(content.prefix(20_000))
        let packed = try zstd(bytes)
        for position in stride(from: 6, to: packed.count, by: 11) {
            var damaged = packed
            damaged[position] ^= 0x10
            #expect((try? decompress(damaged, .zstd)) != bytes, "byte \(position)")
        }
    }

    @Test("An empty stream that is gzip or zstd is truncated, a plain one is empty")
    func empty() throws {
        #expect(try decompress([], .none) == [])
        #expect(throws: CompressionFailure.truncated(format: .gzip, offset: 0)) { try decompress([], .gzip) }
        #expect(throws: CompressionFailure.truncated(format: .zstd, offset: 0)) { try decompress([], .zstd) }
        #expect(try decompress(storedGzip([]), .gzip) == [])
        #expect(try decompress(storedZstd([]), .zstd) == [])
    }
}
