internal import CZstd

/// Writes one zstd frame with a content checksum, as zstd(1) does.
final class ZstdCompressor: CompressedStream {
    private let context: OpaquePointer
    /// The default level of zstd(1).
    private static let level: Int32 = 3

    init() throws(CompressionFailure) {
        guard let context = ZSTD_createCCtx() else { throw .outOfMemory }
        self.context = context
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Self.level)
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
    }

    deinit { ZSTD_freeCCtx(context) }

    func step(
        _ source: UnsafeRawBufferPointer, isLast: Bool, into target: UnsafeMutableRawBufferPointer
    ) throws(CompressionFailure) -> (consumed: Int, produced: Int, isDone: Bool) {
        var input = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
        var output = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
        let left = ZSTD_compressStream2(context, &output, &input, isLast ? ZSTD_e_end : ZSTD_e_continue)
        // Compression from memory to memory with valid parameters fails only for lack of memory.
        guard ZSTD_isError(left) == 0 else { throw .outOfMemory }
        let isDone = isLast ? left == 0 : input.pos == input.size
        return (input.pos, output.pos, isDone)
    }
}
