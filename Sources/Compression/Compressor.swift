/// Turns bytes into a compressed stream, a piece at a time: the same stream for the same bytes, in whatever pieces they come.
/// Another version of the library, and of ISA-L another kind of processor, may make another one.
package struct Compressor: ~Copyable {
    /// Nil leaves the bytes as they are.
    private let stream: (any CompressedStream)?
    /// What comes of a piece depends on where it begins: so all are this large, but for the last.
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

    /// Takes all of the bytes, and lends what they become so far.
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

    /// Lends the end of the stream.
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

/// A library at work.
protocol CompressedStream: AnyObject {
    /// - Parameter isLast: whether nothing follows.
    /// - Returns: how far it came, and whether nothing more comes of this input.
    func step(
        _ source: UnsafeRawBufferPointer, isLast: Bool, into target: UnsafeMutableRawBufferPointer
    ) throws(CompressionFailure) -> (consumed: Int, produced: Int, isDone: Bool)
}
