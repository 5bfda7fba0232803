internal import Kernel

/// Writes a tar, member by member: the same bytes for the same members.
package struct TarWriter {
    private let output: (RawSpan) throws -> Void
    /// What was not written yet.
    private var buffer = [UInt8]()
    private static let bufferSize = 1 << 18

    /// Of the regular file that is being written: what is still to come of its data, the first first reversed.
    private var expected = [Range<Int64>]()
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
        expected = []
        if case .regular(let size, let ranges) = member.content {
            expected = (ranges ?? [0..<size]).filter { !$0.isEmpty }.reversed()
        }
    }

    /// - Returns: false if it is not what the member's header has said that would come here.
    package mutating func write(_ bytes: RawSpan, at offset: Int64) throws -> Bool {
        if bytes.byteCount == 0 { return true }
        guard let next = expected.last, next.lowerBound == offset, next.count >= bytes.byteCount else {
            return false
        }
        let end = offset + Int64(bytes.byteCount)
        expected.removeLast()
        if end < next.upperBound { expected.append(end..<next.upperBound) }
        stored += Int64(bytes.byteCount)
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
        buffer += TarMember.padding(behind: stored)
        return expected.isEmpty
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
