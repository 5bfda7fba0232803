import Compression
import Fuzzing
import Kernel
import TestSupport

/// Decompresses the input in the detected format twice: with the buffer sizes of the pipeline, and with small ones.
/// Both results must be equal.
@c(LLVMFuzzerTestOneInput) public func test(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    guard size > 2 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: data, count: size))
    let blob = Array(input.dropFirst(2))
    guard let format = try? blob.prefix(512).map(\.self).withRawSpan(CompressionFormat.init(sniffing:)) else {
        return 0
    }
    let whole = decompress(blob, format, inputSize: 1 << 18, outputSize: 1 << 20)
    let pieces = decompress(blob, format, inputSize: 1 + Int(input[0]), outputSize: 1 + Int(input[1]) * 17)
    let isTooLong = whole == .long || pieces == .long
    insist(isTooLong || whole == pieces, "the result depends on the buffer sizes: \(whole) and \(pieces)")
    return 0
}

@c(LLVMFuzzerInitialize) public func initialize(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    let text = Array(String(repeating: "one line and another, ", count: 40).utf8)
    let noise = Bytes.noise(300).array
    let tools = [
        ["gzip", "-1"], ["gzip", "-9"], ["zstd", "-1"], ["zstd", "--ultra", "-22", "--no-check"],
    ]
    // Seeds of tools that are not installed are left out.
    let packed = tools.flatMap { tool in
        [text, noise, text + noise].compactMap {
            try? Command.run(tool + ["-c", "-q"], input: $0).succeed().output
        }
    }
    let stored = Packing.allCases.map { $0.pack(LayerBuilder(.file("f", Bytes(text))).tar) }
    let skippable: [UInt8] = [0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 7, 8, 9]
    let joined = [
        storedGzip(text) + storedGzip([]) + storedGzip(noise) + [0, 0, 0], storedGzip(text) + [7],
        skippable + storedZstd(text) + skippable + storedZstd([]),
    ]
    writeSeeds((packed + stored + joined).flatMap { [[254, 60] + $0, [6, 0] + $0] })
    return 0
}

/// The result of decompression. A rejected stream has no content here: the two runs may stop at different offsets.
private enum Outcome: Equatable {
    case whole(count: Int, sum: UInt64)
    /// Too large to continue.
    case long
    case refused
}

private func decompress(
    _ blob: [UInt8], _ format: CompressionFormat, inputSize: Int, outputSize: Int
) -> Outcome {
    var piece = [UInt8](repeating: 0, count: outputSize)
    var count = 0
    var sum: UInt64 = 0xCBF2_9CE4_8422_2325
    do {
        var decompressor = try Decompressor(format)
        for start in stride(from: 0, to: blob.count, by: inputSize) {
            let input = Array(blob[start..<min(start + inputSize, blob.count)])
            var used = 0
            var filled = 0
            // As in the pipeline: after a full output there may be more without further input.
            repeat {
                let step = try input.withRawSpan { span throws(CompressionFailure) in
                    var output = piece.mutableSpan
                    var bytes = output.mutableBytes
                    return try decompressor.step(
                        span.extracting(droppingFirst: used), into: &bytes, at: filled)
                }
                used += step.consumed
                filled += step.produced
                insist(used <= input.count && filled <= outputSize, "the step exceeds its buffers")
                if filled == outputSize || used == input.count {
                    for byte in piece.prefix(filled) { sum = (sum ^ UInt64(byte)) &* 0x100_0000_01B3 }
                    count += filled
                    if count > 1 << 20 { return .long }
                }
                if filled < outputSize, used == input.count { break }
                if filled == outputSize { filled = 0 }
            } while true
        }
        try decompressor.finish()
        return .whole(count: count, sum: sum)
    } catch {
        insist(!"\(error)".isEmpty, "rejected without a reason")
        return .refused
    }
}
