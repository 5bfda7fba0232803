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
