internal import Kernel
internal import Unpacking

/// A value that a user types as one word of an option.
package protocol TypedValue {
    /// The accepted texts in words, for messages: `a number of bytes or a size`.
    static var form: String { get }
    /// For the hint: `20G`.
    static var example: String { get }

    init?(_ text: String)
}

extension TypedValue {
    /// - Parameter option: that has the text, for the message.
    /// - Throws: `.usage` for any other text.
    package init(_ text: String, of option: String) throws {
        guard let value = Self(text) else {
            throw UnpackError(
                .usage, "\(option) is \(Self.form), not \(escaped(text.utf8))", hint: "e.g. \(Self.example)")
        }
        self = value
    }
}
