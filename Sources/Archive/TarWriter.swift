internal import Kernel

/// Writes a tar, member by member: the same bytes for the same members.
package struct TarWriter {
    private let output: (RawSpan) throws -> Void
    /// What was not written yet.
    private var buffer = [UInt8]()
    private static let bufferSize = 1 << 18

    /// Of the regular file that is being written: what is still to come of its data, the last one first.
    private var expected = [Range<Int64>]()
    /// Its pieces in the tar that have not ended, the last one first.
    private var pieces = [Range<Int64>]()
    /// Where in the file the next byte belongs.
    private var position: Int64 = 0
    /// Bytes of its pieces so far.
    private var stored: Int64 = 0

    /// - Parameter output: takes the bytes in order, and returns when they are written.
    package init(to output: @escaping (RawSpan) throws -> Void) { self.output = output }

    /// Writes what stands before a member's data. That of a regular file comes then, up to `end`.
    ///
    /// - Throws: `ArchiveFailure.Reason` for what no tar can say, what the output throws.
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

    /// Writes the zeros of its pieces up to a place in the file. There are fewer than 1,024 at a time.
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

    /// - Returns: false if it is not what the member's header has said that would come here.
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
        // Large pieces are not copied.
        if bytes.byteCount >= Self.bufferSize / 4 {
            try flush()
            try output(bytes)
        } else {
            bytes.withUnsafeBytes { buffer += $0 }
            if buffer.count > Self.bufferSize { try flush() }
        }
        return true
    }

    /// - Returns: false if data is missing.
    package mutating func end() -> Bool {
        guard expected.isEmpty else { return false }
        pad(to: .max)
        buffer += TarMember.padding(behind: stored)
        return true
    }

    /// Writes the end of the archive.
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
