/// A time in UTC, formatted for any year in the proleptic Gregorian calendar, independently of locale and time zone.
///
/// The years of a tar's entries exceed what `Date` formats.
package struct UTC {
    private let date: String
    private let time: String
    private let nanoseconds: String

    package init(_ timestamp: Timestamp) {
        let day: Int64 = 86_400
        let days = timestamp.seconds >= 0 ? timestamp.seconds / day : (timestamp.seconds + 1) / day - 1
        let second = timestamp.seconds - days * day
        // Eras of 400 years that begin in March, so that a leap day is the last day of its year
        // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let march = (5 * dayOfYear + 2) / 153
        let month = march < 10 ? march + 3 : march - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func digits(_ number: some BinaryInteger, _ count: Int) -> String {
            String(number, minimumDigits: count)
        }
        date = "\(digits(year, 4))-\(digits(month, 2))-\(digits(dayOfYear - (153 * march + 2) / 5 + 1, 2))"
        time = "\(digits(second / 3600, 2)):\(digits(second / 60 % 60, 2)):\(digits(second % 60, 2))"
        nanoseconds = digits(timestamp.nanoseconds, 9)
    }

    /// - Parameter nanoseconds: since 1970.
    package init(nanoseconds: Int64) {
        let perSecond: Int64 = 1_000_000_000
        let seconds = nanoseconds >= 0 ? nanoseconds / perSecond : (nanoseconds + 1) / perSecond - 1
        self.init(Timestamp(seconds: seconds, nanoseconds: UInt32(nanoseconds - seconds * perSecond)))
    }

    /// `YYYY-MM-DD HH:MM:SS`.
    package var text: String { "\(date) \(time)" }

    /// RFC 3339 with nanoseconds.
    package var rfc3339: String { "\(date)T\(time).\(nanoseconds)Z" }
}
