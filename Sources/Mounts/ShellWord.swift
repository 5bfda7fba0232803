internal import Kernel

/// One word of a shell command, which every POSIX shell reads as exactly one argument.
///
/// Whatever the program prints for a shell is made of these words: a text is checked or quoted where it becomes one.
package struct ShellWord: Hashable, Sendable, ExpressibleByStringLiteral {
    /// The word as it stands in a command.
    package let text: String

    /// A word that the code spells out, e.g. an option.
    package init(stringLiteral value: StaticString) { text = value.description }

    /// A word that means itself without quotes, which `$(unpack …)` does not process: letters, digits and
    /// `/ . _ - + @ : , =`. It does not begin with `-`, as an option does, nor with `=`, which zsh expands.
    ///
    /// - Throws: `.notPlain`.
    package init(plain text: String) throws(MountLine.Failure) {
        guard let first = text.utf8.first, first != UInt8(ascii: "-"), first != UInt8(ascii: "="),
            text.utf8.allSatisfy(Self.plainBytes.contains)
        else { throw .notPlain(text) }
        self.text = text
    }

    /// A word of a command that a person copies: in single quotes unless it is plain (POSIX.1-2017, XCU 2.2.2).
    ///
    /// - Parameter placeholder: stands for a text that is empty or that a terminal would not show as it is.
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

    /// Bytes of a value that stands in a word beside others: no separator of overlay, fstab or mount(8) is among them.
    static let valueBytes = Set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@".utf8)
    private static let plainBytes = valueBytes.union(":,=".utf8)
}

extension Sequence<ShellWord> {
    /// The command that the words make.
    package var command: String { map(\.text).joined(separator: " ") }
}
