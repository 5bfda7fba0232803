internal import CZstd

/// Decompresses zstd with libzstd. Several frames, including skippable ones, form one stream (RFC 8878, section 3.1).
final class ZstdStream {
    private let context: OpaquePointer
    private var offset: Int64 = 0
    private var isBetweenFrames = false

    private let maximumWindow: Int

    /// - Parameter maximumWindow: maximum window size in bytes; frames that need more are rejected.
    init(maximumWindow: Int) throws(CompressionFailure) {
        guard let context = ZSTD_createDCtx() else { throw .outOfMemory }
        self.context = context
        self.maximumWindow = maximumWindow
        let exponent = Int32(Int.bitWidth - 1 - maximumWindow.leadingZeroBitCount)
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, exponent)
    }

    deinit { ZSTD_freeDCtx(context) }

    func step(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) throws(CompressionFailure) -> Decompressor.Step {
        var input = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
        var output = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
        let result = ZSTD_decompressStream(context, &output, &input)
        offset += Int64(input.pos)
        if ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge {
            throw .windowTooLarge(limit: maximumWindow)
        }
        if ZSTD_isError(result) != 0 {
            let reason = String(cString: ZSTD_getErrorName(result)).lowercased()
            throw .corrupt(format: .zstd, reason: reason, offset: offset)
        }
        // At the end of a frame, a call without input already returns the size hint for the next frame's header.
        if input.pos > 0 || output.pos > 0 { isBetweenFrames = result == 0 }
        return Decompressor.Step(consumed: input.pos, produced: output.pos)
    }

    func finish() throws(CompressionFailure) {
        guard isBetweenFrames else { throw .truncated(format: .zstd, offset: offset) }
    }
}
