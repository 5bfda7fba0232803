internal import Kernel

/// Writes a tar, member by member; equal members give equal bytes.
package struct TarWriter {
    private let output: (RawSpan) throws -> Void
    /// Bytes not yet passed to the output.
    private var buffer = [UInt8]()
    private static let bufferSize = 1 << 18

    /// Ranges of the current file's data that were not written yet, in reverse order.
    private var expected = [Range<Int64>]()
    /// Pieces of the current file in the tar that are not complete, in reverse order.
    private var pieces = [Range<Int64>]()
    /// Offset in the file of the next byte.
    private var position: Int64 = 0
    /// Number of bytes written of the file's pieces.
    private var stored: Int64 = 0

    /// - Parameter output: receives the bytes in order, and returns after they are written.
    package init(to output: @escaping (RawSpan) throws -> Void) { self.output = output }

    /// Writes the headers of a member. For a regular file, calls of `write` with its data and a call of `end` follow.
    ///
    /// - Throws: `ArchiveFailure.Reason` for a member that tar cannot represent, and the errors of the output.
    package mutating func begin(_ member: TarMember) throws {
        buffer += try member.encoded()
        if buffer.count > Self.bufferSize { try flush() }
        stored = 0
        position = 0
        expected = []
        pieces = []
        if case .regular(let size, let ranges) = member.content {
            expected = (ranges ?? [0..<size]).filter { !$0.isEmpty }.reversed()
            pieces = (TarMember.blocks(of: ranges, size: size) ?? [0..<size]).reversed()
        }
    }

    /// Writes the zeros of the current file's pieces up to an offset in the file. There are fewer than 1,024 at a
    /// time.
    private mutating func pad(to end: Int64) {
        while let piece = pieces.last, piece.lowerBound < end {
            let start = max(position, piece.lowerBound)
            let count = min(piece.upperBound, end) - start
            buffer += repeatElement(0, count: Int(count))
            stored += count
            position = start + count
            if piece.upperBound > end { return }
            pieces.removeLast()
        }
    }

    /// Writes the next data of the current file.
    ///
    /// - Returns: false if the bytes are not the data that the member's header announced.
    package mutating func write(_ bytes: RawSpan, at offset: Int64) throws -> Bool {
        if bytes.byteCount == 0 { return true }
        guard let next = expected.last, next.lowerBound == offset, next.count >= bytes.byteCount else {
            return false
        }
        pad(to: offset)
        let end = offset + Int64(bytes.byteCount)
        expected.removeLast()
        if end < next.upperBound { expected.append(end..<next.upperBound) }
        stored += Int64(bytes.byteCount)
        position = end
        // Large pieces are not copied into the buffer.
        if bytes.byteCount >= Self.bufferSize / 4 {
            try flush()
            try output(bytes)
        } else {
            bytes.withUnsafeBytes { buffer += $0 }
            if buffer.count > Self.bufferSize { try flush() }
        }
        return true
    }

    /// Completes the current member.
    ///
    /// - Returns: false if data is missing.
    package mutating func end() -> Bool {
        guard expected.isEmpty else { return false }
        pad(to: .max)
        buffer += TarMember.padding(after: stored)
        return true
    }

    /// Writes the end-of-archive blocks.
    package mutating func finish() throws {
        buffer += [UInt8](repeating: 0, count: 1024)
        try flush()
    }

    private mutating func flush() throws {
        if buffer.isEmpty { return }
        try buffer.withRawSpan { try output($0) }
        buffer.removeAll(keepingCapacity: true)
    }
}
