/// Compresses a stream. The result depends only on the bytes, not on the pieces they are passed in. Another version
/// of the library, or for ISA-L another type of processor, may produce a different stream.
package struct Compressor: ~Copyable {
    /// Nil if the bytes are not compressed.
    private let stream: (any CompressedStream)?
    /// Input up to the next full piece. The output of a piece depends on its boundaries, so all pieces but the last
    /// have the same size.
    private var input = [UInt8]()
    private var output: [UInt8]
    private static let pieceSize = 1 << 18

    /// - Throws: `.outOfMemory`
    package init(_ format: CompressionFormat) throws(CompressionFailure) {
        stream =
            switch format {
            case .none: nil
            case .gzip: GzipCompressor()
            case .zstd: try ZstdCompressor()
            }
        input.reserveCapacity(Self.pieceSize)
        output = [UInt8](repeating: 0, count: format == .none ? 0 : Self.pieceSize)
    }

    /// Compresses all of the bytes and lends the output produced so far to `body`.
    package mutating func compress(_ bytes: RawSpan, _ body: (RawSpan) throws -> Void) throws {
        guard let stream else { return try body(bytes) }
        var rest = bytes
        while rest.byteCount > 0 {
            let count = min(Self.pieceSize - input.count, rest.byteCount)
            rest.extracting(first: count).withUnsafeBytes { input += $0 }
            rest = rest.extracting(droppingFirst: count)
            if input.count == Self.pieceSize { try flush(to: stream, isLast: false, body) }
        }
    }

    /// Finishes the stream and lends the rest of the output to `body`.
    package mutating func finish(_ body: (RawSpan) throws -> Void) throws {
        if let stream { try flush(to: stream, isLast: true, body) }
    }

    private mutating func flush(
        to stream: any CompressedStream, isLast: Bool, _ body: (RawSpan) throws -> Void
    ) throws {
        var used = 0
        var isDone = false
        while !isDone {
            let (consumed, produced): (Int, Int)
            (consumed, produced, isDone) = try input.withUnsafeBytes { source in
                try output.withUnsafeMutableBytes { target in
                    try stream.step(
                        UnsafeRawBufferPointer(rebasing: source[used...]), isLast: isLast, into: target)
                }
            }
            used += consumed
            if produced > 0 { try body(output.span.bytes.extracting(first: produced)) }
        }
        input.removeAll(keepingCapacity: true)
    }
}

/// A compression stream of one of the libraries.
protocol CompressedStream: AnyObject {
    /// - Parameter isLast: whether the source is the end of the input.
    /// - Returns: bytes consumed and produced, and whether this input produces no more output.
    func step(
        _ source: UnsafeRawBufferPointer, isLast: Bool, into target: UnsafeMutableRawBufferPointer
    ) throws(CompressionFailure) -> (consumed: Int, produced: Int, isDone: Bool)
}
