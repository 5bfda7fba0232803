package import Kernel
internal import SystemPackage

/// What went wrong with the store: the contract's kinds (containerd `errdefs`), and what a disk or a database adds. Its texts
/// are printable and have no line breaks, whatever they were made of.
package struct StoreFailure: Error, Sendable, CustomStringConvertible {
    package enum Kind: Equatable, Sendable {
        case notFound
        case alreadyExists
        case invalidArgument
        case failedPrecondition
        /// A call takes more work than one may.
        case resourceExhausted
        /// This snapshotter cannot work here.
        case unavailable
        /// Somebody else held the database for longer than one waits.
        case busy
        case system(SyscallFailure)
        case database
    }

    package let kind: Kind
    package let description: String
    /// What to do about it; nil where there is nothing to say.
    package let hint: String?

    package init(_ kind: Kind, _ description: String, hint: String? = nil) {
        self.kind = kind
        self.description = printable(description)
        self.hint = hint.map { printable($0) }
    }

    init(_ failure: OwnershipFailure, _ doing: String) {
        if let cause = failure.cause {
            self.init(Kind.system(cause), "\(doing): \(failure)")
        } else {
            self.init(
                Kind.system(SyscallFailure("open", errno: .notPermitted)), "\(doing): \(failure)",
                hint: failure.hint)
        }
    }

    init(_ failure: SyscallFailure, _ doing: String) {
        self.init(Kind.system(failure), "\(doing): \(failure)")
    }
}

/// Runs system calls.
///
/// - Parameter doing: the beginning of a failure's message.
func attempting<Value>(
    _ doing: @autoclosure () -> String, _ body: () throws(SyscallFailure) -> Value
) throws(StoreFailure) -> Value {
    do {
        return try body()
    } catch {
        throw StoreFailure(error, doing())
    }
}
