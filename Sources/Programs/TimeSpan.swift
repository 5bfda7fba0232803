/// A span of time as a user writes it: `90s`, `10m`, `12h`, `7d`.
package struct TimeSpan: TypedValue, Equatable {
    package static let form = "a number and s, m, h or d"
    package static let example = "10m or 7d"

    package let nanoseconds: Int64

    /// - Returns: nil for any other text, and for a number that is too large.
    package init?(_ text: String) {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let unit = text.last.flatMap({ units[$0] }), let number = Int64(text.dropLast()), number >= 0
        else {
            return nil
        }
        let (seconds, overflows) = number.multipliedReportingOverflow(by: unit)
        let (product, overflowsAgain) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflows || overflowsAgain { return nil }
        nanoseconds = product
    }
}
