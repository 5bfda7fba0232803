internal import Glibc

extension [UInt8] {
    /// Lends the array's bytes without copying them. `Span.bytes` would do, but rooms without pointers may
    /// not call it.
    package func withRawSpan<Result, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let span = self.span
        return try body(span.bytes)
    }
}

extension [UInt8] {
    package mutating func append(_ span: RawSpan) { span.withUnsafeBytes { append(contentsOf: $0) } }
}

extension RawSpan {
    /// Whether all bytes of a range that is not empty are 0.
    package func isZero(_ range: Range<Int>) -> Bool {
        withUnsafeBytes { memory in
            let bytes = UnsafeRawBufferPointer(rebasing: memory[range])
            // Almost all data differs at its beginning; the rest is compared with itself, one byte further on.
            guard let start = bytes.baseAddress, bytes[0] == 0 else { return false }
            return memcmp(start, start + 1, bytes.count - 1) == 0
        }
    }
}
