internal import CISAL

/// Decompresses gzip with ISA-L. Several members form one stream (RFC 1952, section 2.2); zeros may pad its end.
final class GzipStream {
    private enum Position { case header, member, betweenMembers, padding }

    /// 87 KB: too large for the stack.
    private let state = UnsafeMutablePointer<inflate_state>.allocate(capacity: 1)
    private var position = Position.header
    private var header = GzipHeader()
    private var offset: Int64 = 0

    init() {
        isal_inflate_init(state)
        beginMember()
    }

    deinit { state.deallocate() }

    private func beginMember() {
        isal_inflate_reset(state)
        // The library parses the trailer and verifies the CRC; isal_inflate_reset clears this flag.
        state.pointee.crc_flag = UInt32(ISAL_GZIP_NO_HDR_VER)
        header = GzipHeader()
        position = .header
    }

    private func readHeader(_ source: UnsafeRawBufferPointer) throws(CompressionFailure) -> Decompressor.Step
    {
        var consumed = 0
        while consumed < source.count, !header.isComplete {
            do throws(GzipHeader.Failure) {
                try header.take(source[consumed])
            } catch {
                throw .corrupt(format: .gzip, reason: error.reason, offset: offset)
            }
            consumed += 1
            offset += 1
        }
        if header.isComplete { position = .member }
        return Decompressor.Step(consumed: consumed, produced: 0)
    }

    func step(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) throws(CompressionFailure) -> Decompressor.Step {
        switch position {
        case .header: return try readHeader(source)
        case .betweenMembers, .padding: return try skipToMember(source)
        case .member: break
        }
        state.pointee.next_in = UnsafeMutablePointer(
            mutating: source.baseAddress?.assumingMemoryBound(to: UInt8.self))
        state.pointee.avail_in = UInt32(source.count)
        state.pointee.next_out = target.baseAddress?.assumingMemoryBound(to: UInt8.self)
        state.pointee.avail_out = UInt32(target.count)
        let result = isal_inflate(state)
        let consumed = source.count - Int(state.pointee.avail_in)
        let produced = target.count - Int(state.pointee.avail_out)
        offset += Int64(consumed)
        guard result >= 0, result != ISAL_NEED_DICT else {
            throw .corrupt(format: .gzip, reason: Self.reason(result), offset: offset)
        }
        if state.pointee.block_state == ISAL_BLOCK_FINISH { position = .betweenMembers }
        return Decompressor.Step(consumed: consumed, produced: produced)
    }

    /// Handles the input after a member: another member, padding, or garbage.
    private func skipToMember(_ input: UnsafeRawBufferPointer) throws(CompressionFailure) -> Decompressor.Step
    {
        var zeros = 0
        while zeros < input.count {
            let byte = input[zeros]
            if byte == 0x1F, position == .betweenMembers, zeros == 0 {
                beginMember()
                return Decompressor.Step(consumed: 0, produced: 0)
            }
            guard byte == 0 else { throw .trailingGarbage(format: .gzip, offset: offset + Int64(zeros)) }
            zeros += 1
        }
        // A call without input, made to flush output, does not mean padding.
        if zeros > 0 { position = .padding }
        offset += Int64(zeros)
        return Decompressor.Step(consumed: zeros, produced: 0)
    }

    func finish() throws(CompressionFailure) {
        // ISA-L does not report that its input ended too early; only the state shows it.
        guard position == .betweenMembers || position == .padding else {
            throw .truncated(format: .gzip, offset: offset)
        }
    }

    private static func reason(_ code: Int32) -> String {
        switch code {
        case ISAL_INVALID_BLOCK: "invalid deflate block"
        case ISAL_INVALID_SYMBOL: "invalid deflate symbol"
        case ISAL_INVALID_LOOKBACK: "invalid distance"
        case ISAL_INVALID_WRAPPER: "invalid gzip header"
        case ISAL_UNSUPPORTED_METHOD: "unsupported compression method"
        case ISAL_INCORRECT_CHECKSUM: "wrong CRC"
        default: "error \(code)"
        }
    }
}
