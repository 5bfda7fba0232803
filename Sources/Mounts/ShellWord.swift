internal import Kernel

/// One word of a shell command, which every POSIX shell reads as exactly one argument.
///
/// Everything that the program prints for a shell consists of these words: a text is checked or quoted when it becomes
/// one.
package struct ShellWord: Hashable, Sendable, ExpressibleByStringLiteral {
    /// The word as it appears in a command.
    package let text: String

    /// A literal of the source code, e.g. an option.
    package init(stringLiteral value: StaticString) { text = value.description }

    /// A word that needs no quotes and that `$(unpack …)` does not change: letters, digits and `/ . _ - + @ : , =`. The
    /// first character is neither `-`, as of an option, nor `=`, which zsh expands.
    ///
    /// - Throws: `.notPlain`.
    package init(plain text: String) throws(MountLine.Failure) {
        guard let first = text.utf8.first, first != UInt8(ascii: "-"), first != UInt8(ascii: "="),
            text.utf8.allSatisfy(Self.plainBytes.contains)
        else { throw .notPlain(text) }
        self.text = text
    }

    /// A word of a command that a user copies, in single quotes if necessary (POSIX.1-2017, XCU 2.2.2).
    ///
    /// - Parameter placeholder: replaces a text that is empty or that a terminal would not show as it is.
    package init(quoting text: String, orElse placeholder: StaticString) {
        if let word = try? ShellWord(plain: text) {
            self = word
        } else if text.isEmpty || printable(text) != text {
            self.init(stringLiteral: placeholder)
        } else {
            self.init(checked: "'" + text.replacing("'", with: #"'\''"#) + "'")
        }
    }

    private init(checked text: String) { self.text = text }

    /// Bytes that may occur in a single value: none of them separates values in overlay options, fstab(5) or mount(8).
    static let valueBytes = Set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@".utf8)
    private static let plainBytes = valueBytes.union(":,=".utf8)
}

extension Sequence<ShellWord> {
    /// The words as one command.
    package var command: String { map(\.text).joined(separator: " ") }
}
