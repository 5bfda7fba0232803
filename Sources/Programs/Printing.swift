internal import FoundationEssentials
internal import Kernel
internal import Unpacking

/// Prints a command's result to stdout. Characters that control a terminal are escaped, except newlines and tabs.
package func printResult(_ text: String) throws {
    try attempt { try Console.write(printable(text, keeping: ["\n", "\t"]) + "\n") }
}

/// Encodes a value as one line of JSON with sorted keys. Characters that would control a terminal are written as
/// `\uXXXX`, which JSON parsers decode (RFC 8259, section 7).
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
                result.append(
                    contentsOf: "\\u\(String(unit, radix: 16, minimumDigits: 4))".unicodeScalars)
            }
        }
    }
    return String(result)
}
