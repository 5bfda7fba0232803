internal import Erofs
package import Kernel
internal import SystemPackage
internal import TreeRecords

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
        /// A file or directory is not what the store needs.
        case unusableFile
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
        let kind: Kind =
            switch failure {
            case .otherOwner, .writableByOthers, .symlink, .hardLink: .notPermitted
            case .wrongType, .tooManyLinks: .unusableFile
            case .mismatch(let mismatch): Kind(mismatch)
            case .bug: .internalError
            case .system(let cause): .system(cause)
            }
        self.init(kind, "\(doing): \(failure)", hint: failure.hint)
    }

    /// Converts any error of work on files.
    init(_ error: any Error, _ doing: String) {
        self =
            (error as? StoreFailure) ?? StoreFailure(ofFiles: error, doing)
            ?? StoreFailure(.internalError, "\(doing): \(error)")
    }

    /// Converts the errors of modules that work on trees; nil for any other error, as of a caller's closure.
    init?(ofFiles error: any Error, _ doing: String) {
        switch error {
        case let failure as SyscallFailure: self.init(failure, doing)
        case let mismatch as FileMismatch: self.init(Kind(mismatch), "\(doing): \(mismatch)")
        case let failure as TreeRecordFailure: self.init(.failedPrecondition, "\(doing): \(failure)")
        case let error as ErofsError:
            self.init(.failedPrecondition, "\(doing): an EROFS image cannot have this tree: \(error)")
        default: return nil
        }
    }

    init(_ failure: SyscallFailure, _ doing: String) {
        self.init(Kind.system(failure), "\(doing): \(failure)")
    }
}

extension StoreFailure.Kind {
    fileprivate init(_ mismatch: FileMismatch) {
        self =
            switch mismatch {
            case .notRegular, .replaced: .unusableFile
            case .notKept(_, _, let isRefusal): isRefusal ? .notPermitted : .unavailable
            }
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
