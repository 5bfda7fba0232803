internal import FoundationEssentials
internal import Kernel
internal import Unpacking

/// Writes a command's result to stdout, in one or several lines: a character that would steer a terminal is escaped.
package func say(_ text: String) throws {
    try attempt { try Console.write(printable(text, keeping: ["\n", "\t"]) + "\n") }
}

/// One line of JSON, the same for the same value. A character that would steer a terminal is written as `\uXXXX`, which every
/// reader takes for the character (RFC 8259, section 7).
package func encoded(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let text = String(decoding: try encoder.encode(value), as: UTF8.self)
    if text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
        if isPrintable(scalar) {
            result.append(scalar)
        } else {
            for unit in String(scalar).utf16 {
                let digits = String(unit, radix: 16)
                result.append(
                    contentsOf: "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)"
                        .unicodeScalars)
            }
        }
    }
    return String(result)
}
