internal import Kernel

/// The error of a command: a code for programs, a message and a hint for users. `UnpackError+Mapping.swift` converts
/// the errors of the lower modules. No program parses the text.
///
/// Message, list and hint are printable and have no line breaks, whatever they are made of, so that a name from an
/// image or the command line can neither send control sequences to a terminal nor forge a line.
package struct UnpackError: Error, Sendable {
    /// The exit statuses (sysexits(3)). They are documented in `docs/exit-codes.md` and do not change.
    package enum Code: Equatable, Sendable {
        /// The command line is invalid.
        case usage
        /// The image is invalid: digest, diff ID, archive, JSON.
        case data
        /// Image, reference, blob or snapshot not found.
        case notFound
        /// No manifest for the platform, or a snapshotter that this machine does not support.
        case unavailable
        /// A defect of this program.
        case `internal`
        /// I/O, no space.
        case io
        /// The store's database stayed locked.
        case busy
        case permission
        /// Ended by this signal.
        case interrupted(Int32)

        package var exitStatus: Int32 {
            switch self {
            case .usage: 64
            case .data: 65
            case .notFound: 66
            case .unavailable: 69
            case .internal: 70
            case .io: 74
            case .busy: 75
            case .permission: 77
            case .interrupted(let signal): 128 + signal
            }
        }
    }

    package let code: Code
    private let summary: String
    private let list: [String]
    package let hint: String?

    /// - Parameters:
    ///   - message: lower case: the layer, entry or path, what failed, what was found.
    ///   - list: the possible choices, one line each.
    package init(_ code: Code, _ message: String, list: [String] = [], hint: String? = nil) {
        self.code = code
        summary = printable(message)
        self.list = list.map { printable($0) }
        self.hint = hint.map { printable($0) }
    }

    /// The message, followed by the indented list.
    package var lines: [String] { [summary] + list.map { "  " + $0 } }

    package var message: String { lines.joined(separator: "\n") }

    /// The same error with another hint.
    package func hinting(_ hint: String) -> UnpackError {
        UnpackError(code, summary, list: list, hint: hint)
    }

    /// The same error, whose message begins with `place`.
    package func prefixed(with place: String) -> UnpackError {
        UnpackError(code, place + summary, list: list, hint: hint)
    }
}
