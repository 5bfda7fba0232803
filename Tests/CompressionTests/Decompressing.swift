import Compression
import Kernel

/// Decompresses a blob, `inputSize` bytes at a time, into pieces of `outputSize` bytes.
///
/// As in the pipeline, a full output is consumed before more input is read.
func decompress(
    _ blob: [UInt8], _ format: CompressionFormat, inputSize: Int = 1 << 18, outputSize: Int = 1 << 16
) throws -> [UInt8] {
    var decompressor = try Decompressor(format)
    var result = [UInt8]()
    var piece = [UInt8](repeating: 0, count: outputSize)
    var filled = 0
    for start in stride(from: 0, to: blob.count, by: inputSize) {
        let input = Array(blob[start..<min(start + inputSize, blob.count)])
        var used = 0
        var isFull = false
        while used < input.count || isFull {
            let step = try input.withRawSpan { span throws(CompressionFailure) in
                var output = piece.mutableSpan
                var bytes = output.mutableBytes
                return try decompressor.step(span.extracting(droppingFirst: used), into: &bytes, at: filled)
            }
            used += step.consumed
            filled += step.produced
            isFull = filled == outputSize
            if isFull {
                result += piece
                filled = 0
            }
        }
    }
    result += piece.prefix(filled)
    try decompressor.finish()
    return result
}

func sniff(_ start: [UInt8]) throws -> CompressionFormat {
    try start.withRawSpan(CompressionFormat.init(sniffing:))
}
