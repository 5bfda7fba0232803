internal import Compression
internal import Kernel

/// The bytes of a tar, decompressed as they come. Read once, from one thread.
final class ArchiveStream: Sendable {
    /// Bytes read at once.
    private static let chunk = 1 << 18

    private let open: @Sendable () throws(SyscallFailure) -> File

    /// - Parameter open: called by the thread that reads: of a FIFO it waits for who writes.
    init(_ open: @escaping @Sendable () throws(SyscallFailure) -> File) { self.open = open }

    /// A tar's first block.
    private static let leastStart = 512

    /// Lends all bytes of the tar, a piece at a time.
    ///
    /// - Throws: `CompressionFailure`, `SyscallFailure`, what `body` throws.
    func read(_ body: (RawSpan) throws -> Void) throws {
        let input = try open()
        var start = [UInt8]()
        var chunk = [UInt8]()
        // A pipe gives little at a time.
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
