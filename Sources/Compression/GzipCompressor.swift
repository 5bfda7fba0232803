internal import CISAL

/// Writes one gzip member with ISA-L, without name and time (RFC 1952, section 2.3.1).
final class GzipCompressor: CompressedStream {
    /// The state takes 70 KB, in addition to the level buffer: too much for the stack.
    private let stream = UnsafeMutablePointer<isal_zstream>.allocate(capacity: 1)
    private let memory: UnsafeMutablePointer<UInt8>
    /// The level with the smallest output, still several times faster than zlib.
    private static let level: UInt32 = 3
    private static let memorySize = Int(isal_level3_memory)

    init() {
        memory = .allocate(capacity: Self.memorySize)
        memory.initialize(repeating: 0, count: Self.memorySize)
        isal_deflate_init(stream)
        stream.pointee.level = Self.level
        stream.pointee.level_buf = memory
        stream.pointee.level_buf_size = UInt32(Self.memorySize)
        stream.pointee.gzip_flag = UInt16(IGZIP_GZIP)
        stream.pointee.flush = UInt16(NO_FLUSH)
    }

    deinit {
        stream.deallocate()
        memory.deallocate()
    }

    func step(
        _ source: UnsafeRawBufferPointer, isLast: Bool, into target: UnsafeMutableRawBufferPointer
    ) throws(CompressionFailure) -> (consumed: Int, produced: Int, isDone: Bool) {
        stream.pointee.next_in = UnsafeMutablePointer(
            mutating: source.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.pointee.avail_in = UInt32(source.count)
        stream.pointee.next_out = target.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(target.count)
        stream.pointee.end_of_stream = isLast ? 1 : 0
        // isal_deflate fails only for invalid parameters, and all of them are set above.
        guard isal_deflate(stream) == COMP_OK else { throw .outOfMemory }
        let consumed = source.count - Int(stream.pointee.avail_in)
        let produced = target.count - Int(stream.pointee.avail_out)
        let isDone =
            isLast
            ? stream.pointee.internal_state.state == ZSTATE_END
            : stream.pointee.avail_in == 0 && stream.pointee.avail_out > 0
        return (consumed, produced, isDone)
    }
}
