internal import Compression
internal import Kernel

/// The bytes of a tar, decompressed on the fly. They can be read once, from one thread.
final class ArchiveStream: Sendable {
    /// Number of bytes read from the file at once.
    private static let chunk = 1 << 18

    private let open: @Sendable () throws(SyscallFailure) -> File

    /// - Parameter open: called by the thread that reads, because opening a FIFO blocks until a writer opens it.
    init(_ open: @escaping @Sendable () throws(SyscallFailure) -> File) { self.open = open }

    /// Size of a tar's first block, which the format is detected from.
    private static let leastStart = 512

    /// Reads the whole stream and lends the bytes of the tar to `body`, a piece at a time.
    ///
    /// - Throws: `CompressionFailure`, `SyscallFailure`, and the errors of `body`.
    func read(_ body: (RawSpan) throws -> Void) throws {
        let input = try open()
        var start = [UInt8]()
        var chunk = [UInt8]()
        // A read from a pipe may return only a few bytes.
        repeat {
            try input.read(into: &chunk, limit: Self.chunk)
            start += chunk
        } while start.count < Self.leastStart && !chunk.isEmpty
        let format = try start.withRawSpan(CompressionFormat.init(sniffing:))
        var decompressor = try Decompressor(format)
        var output = [UInt8](repeating: 0, count: Self.chunk)
        var piece = start
        while !piece.isEmpty {
            if format == .none {
                try piece.withRawSpan(body)
            } else {
                try decompressor.decompress(piece, through: &output, body)
            }
            try input.read(into: &piece, limit: Self.chunk)
        }
        try decompressor.finish()
    }
}
