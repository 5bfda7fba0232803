internal import Compression
internal import Kernel

/// The bytes of a tar, decompressed as they come. Read once, from one thread.
final class ArchiveStream: Sendable {
    /// Bytes read at once.
    private static let chunk = 1 << 18

    private let input: File
    private let format: CompressionFormat
    /// What was read to tell the format.
    private let start: [UInt8]

    /// - Throws: `CompressionFailure.unknownFormat`, `SyscallFailure`.
    init(_ input: consuming File) throws {
        self.input = input
        var start = [UInt8]()
        var chunk = [UInt8]()
        // A pipe gives little at a time.
        repeat {
            try self.input.read(into: &chunk, limit: Self.chunk)
            start += chunk
        } while start.count < Self.leastStart && !chunk.isEmpty
        self.start = start
        format = try start.withRawSpan(CompressionFormat.init(sniffing:))
    }

    /// A tar's first block.
    private static let leastStart = 512

    /// Lends all bytes of the tar, a piece at a time.
    ///
    /// - Throws: `CompressionFailure`, `SyscallFailure`, what `body` throws.
    func read(_ body: (RawSpan) throws -> Void) throws {
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
