package import Kernel
internal import SystemPackage

/// A failure of the store: the kinds of the contract (containerd `errdefs`), and those of disks and databases. The
/// texts are escaped for a terminal and have no line breaks.
package struct StoreFailure: Error, Sendable, CustomStringConvertible {
    package enum Kind: Equatable, Sendable {
        case notFound
        case alreadyExists
        case invalidArgument
        case failedPrecondition
        /// A call takes more work than is allowed.
        case resourceExhausted
        /// The snapshotter cannot work here, or the snapshot is not finished.
        case unavailable
        /// Another process held the database for longer than the timeout.
        case busy
        /// The process lacks a privilege, or another user could change the store.
        case notPermitted
        /// The database has no space left on its file system.
        case outOfSpace
        /// The caller does not want the result any more.
        case cancelled
        /// A system call has failed.
        case system(SyscallFailure)
        /// SQLite has failed, or the database is damaged.
        case database
        /// A state that this program should not reach.
        case internalError
    }

    package let kind: Kind
    package let description: String
    /// The command or setting that helps; nil if none is known.
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
            self.init(.notPermitted, "\(doing): \(failure)", hint: failure.hint)
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

/// Runs work that throws nothing but `StoreFailure`, which its type does not say.
///
/// - Throws: `.internalError` for any other error.
func failing<Value>(_ doing: String, _ body: () throws -> Value) throws(StoreFailure) -> Value {
    do {
        return try body()
    } catch let failure as StoreFailure {
        throw failure
    } catch {
        throw StoreFailure(.internalError, "\(doing): \(error)")
    }
}
