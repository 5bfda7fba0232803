internal import Glibc

extension [UInt8] {

    /// Calls `body` with the array's bytes, without copying them. Modules with strict memory safety call this instead
    /// of `Span.bytes`, which is unsafe.
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
    /// Whether all bytes of a non-empty range are 0.
    package func isZero(_ range: Range<Int>) -> Bool {
        withUnsafeBytes { memory in
            let bytes = UnsafeRawBufferPointer(rebasing: memory[range])
            // Almost all data has a first byte other than 0. If it is 0, all are when each byte equals the next one.
            guard let start = bytes.baseAddress, bytes[0] == 0 else { return false }
            return memcmp(start, start + 1, bytes.count - 1) == 0
        }
    }
}
