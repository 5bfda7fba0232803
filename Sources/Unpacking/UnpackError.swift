internal import Kernel

/// What a command failed with: a code for programs, a message and a remedy for people. Built in one place,
/// `UnpackError+Mapping.swift`; no program reads the text to decide.
///
/// Message, list and hint are printable and have no line breaks, whatever they were made of: a name from outside can
/// neither steer a terminal nor begin a line of its own.
package struct UnpackError: Error, Sendable {
    /// The exit statuses, documented in `docs/exit-codes.md` and frozen (sysexits.h).
    package enum Code: Equatable, Sendable {
        /// The command line asks for what cannot be.
        case usage
        /// The image is wrong: digest, diff ID, archive, JSON.
        case data
        /// Image, reference, blob or snapshot not found.
        case notFound
        /// No manifest for the platform, or a snapshotter that cannot work here.
        case unavailable
        /// A bug of ours.
        case `internal`
        /// I/O, no space.
        case io
        /// The store's database stayed locked.
        case busy
        case permission
        /// By this signal.
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
    ///   - message: lower case; which layer, entry or path, what failed, what was found.
    ///   - list: what there is to choose from, an item a line.
    package init(_ code: Code, _ message: String, list: [String] = [], hint: String? = nil) {
        self.code = code
        summary = printable(message)
        self.list = list.map { printable($0) }
        self.hint = hint.map { printable($0) }
    }

    /// The message, and indented below it the list.
    package var lines: [String] { [summary] + list.map { "  " + $0 } }

    package var message: String { lines.joined(separator: "\n") }

    /// The same error, with where it happened in front of its message.
    package func prefixed(with place: String) -> UnpackError {
        UnpackError(code, place + summary, list: list, hint: hint)
    }
}
