/// A number of bytes as a user writes it: `500`, `20G`, `1.5GB`, `512MiB`.
package struct ByteSize: TypedValue, Equatable {
    package static let form = "a number of bytes or a size"
    package static let example = "20G"

    package let bytes: Int64

    /// Units of powers of 1000 are `k`, `M`, `G` and `T`, those of powers of 1024 `Ki`, `Mi`, `Gi` and `Ti`; a `B` may
    /// follow, and the case does not matter.
    ///
    /// - Returns: nil for any other text, and for a number that is negative or too large.
    package init?(_ text: String) {
        let number = text.prefix { ("0"..."9").contains($0) || $0 == "." }
        var unit = text.dropFirst(number.utf8.count).lowercased()
        if unit.hasSuffix("b") { unit.removeLast() }
        let base: Double = unit.hasSuffix("i") ? 1024 : 1000
        if base == 1024 { unit.removeLast() }
        guard let exponent = ["", "k", "m", "g", "t"].firstIndex(of: unit), base == 1000 || exponent > 0
        else {
            return nil
        }
        if exponent == 0 {
            guard let bytes = Int64(number) else { return nil }
            self.bytes = bytes
            return
        }
        let factor = (0..<exponent).reduce(1.0) { product, _ in product * base }
        guard let value = Double(number), value * factor < 0x1p63 else { return nil }
        bytes = Int64(value * factor)
    }
}
