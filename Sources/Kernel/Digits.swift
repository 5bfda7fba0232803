extension String {
    /// The digits of a number, with zeros before them up to a minimum number of digits; a minus sign is not counted.
    package init(
        _ number: some BinaryInteger, radix: Int = 10, uppercase: Bool = false, minimumDigits: Int
    ) {
        let digits = String(number.magnitude, radix: radix, uppercase: uppercase)
        let zeros = String(repeating: "0", count: Swift.max(0, minimumDigits - digits.utf8.count))
        self = (number < 0 ? "-" : "") + zeros + digits
    }
}
