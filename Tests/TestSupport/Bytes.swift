/// Raw bytes, written in tests as a string literal or as an array of numbers.
package struct Bytes: Hashable, Sendable {
    package var array: [UInt8]

    package init(_ array: some Sequence<UInt8>) { self.array = Array(array) }
    package init(_ text: String) { array = Array(text.utf8) }

    package static func + (left: Bytes, right: Bytes) -> Bytes { Bytes(left.array + right.array) }
}

extension Bytes: ExpressibleByStringInterpolation {
    package init(stringLiteral value: String) { self.init(value) }
}

extension Bytes: ExpressibleByArrayLiteral {
    package init(arrayLiteral elements: UInt8...) { self.init(elements) }
}

extension Bytes: CustomStringConvertible {
    package var description: String { String(decoding: array, as: UTF8.self) }
}

extension Bytes {
    /// Incompressible bytes, always the same for a seed (xorshift).
    package static func noise(_ count: Int, seed: UInt64 = 88_172_645_463_325_252) -> Bytes {
        var state = seed
        return Bytes(
            (0..<count).map { _ in
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                return UInt8(truncatingIfNeeded: state)
            })
    }
}
