internal import CISAL

/// One gzip member through ISA-L, without name and time (RFC 1952, section 2.3.1).
final class GzipCompressor: CompressedStream {
    /// 70 KB, and what the level needs: on the heap, not on a stack.
    private let stream = UnsafeMutablePointer<isal_zstream>.allocate(capacity: 1)
    private let memory: UnsafeMutablePointer<UInt8>
    /// The one that makes the smallest files, at several times the speed of zlib.
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
        // Everything that it can complain about is set above.
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
