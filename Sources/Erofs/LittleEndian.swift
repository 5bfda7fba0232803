extension OutputSpan<UInt8> {
    @inline(__always) mutating func append(little value: some FixedWidthInteger & UnsignedInteger) {
        var rest = UInt64(truncatingIfNeeded: value)
        for _ in 0..<MemoryLayout.size(ofValue: value) {
            append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }

    @inline(__always) mutating func appendZeros(_ count: Int) { append(repeating: 0, count: count) }
}

extension [UInt8] {
    @inline(__always) mutating func append(little value: some FixedWidthInteger & UnsignedInteger) {
        append(addingCapacity: MemoryLayout.size(ofValue: value)) { $0.append(little: value) }
    }

    /// Reads an integer. The caller ensures that its bytes are there.
    @inline(__always) func little<Value: FixedWidthInteger & UnsignedInteger>(
        at offset: Int, as _: Value.Type = Value.self
    ) -> Value {
        var value: UInt64 = 0
        for index in (0..<MemoryLayout<Value>.size).reversed() {
            value = value << 8 | UInt64(self[offset + index])
        }
        return Value(truncatingIfNeeded: value)
    }
}
