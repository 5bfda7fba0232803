internal import FoundationEssentials
internal import Kernel
internal import Unpacking

/// What commands print, in the forms that they share. stdout carries nothing else.
package func say(_ text: String) throws { try attempt { try Console.write(text + "\n") } }

/// One line of JSON, the same for the same value.
package func encoded(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}
