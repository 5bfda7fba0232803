/// A file or directory that is not what it has to be, although no system call has failed. Paths are escaped for a
/// terminal.
package enum FileMismatch: Error, Equatable, Sendable, CustomStringConvertible {
    /// A name leads to another type of file than a regular one; `type` is a noun phrase.
    case notRegular(path: String, type: String)
    /// A name leads to another file than before: another process has replaced it.
    case replaced(path: String)
    /// A system call reported success, and the kernel or the file system kept another value.
    ///
    /// - Parameters:
    ///   - call: with its subject, if that has a name, e.g. `fchmod 'a'`.
    ///   - change: e.g. `mode 2755 became 755`.
    ///   - isRefusal: whether the process may lack a privilege; otherwise the file system cannot store the value.
    case notKept(call: String, change: String, isRefusal: Bool)

    static func mode(_ mode: UInt32, became found: UInt32, _ call: String, isRefusal: Bool) -> FileMismatch {
        .notKept(
            call: call, change: "mode \(String(mode, radix: 8)) became \(String(found, radix: 8))",
            isRefusal: isRefusal)
    }

    static func owner(
        _ owner: (uid: UInt32, gid: UInt32), became found: FileStatus, isRefusal: Bool
    ) -> FileMismatch {
        .notKept(
            call: "fchown", change: "\(owner.uid):\(owner.gid) became \(found.uid):\(found.gid)",
            isRefusal: isRefusal)
    }

    package var description: String {
        switch self {
        case .notRegular(let path, let type): "'\(path)' is \(type), not a regular file"
        case .replaced(let path): "'\(path)' was replaced by another file"
        case .notKept(let call, let change, _): "\(call): \(change), without an error"
        }
    }

    /// The capability without which chmod(2) drops the set-group-ID bit; nil if the process has it, or if another value
    /// was not kept.
    package var missingCapability: Capability? {
        guard case .notKept(_, _, isRefusal: true) = self, Process.effectiveUserID == 0,
            !Privileges.current.has(.fsetid)
        else { return nil }
        return .fsetid
    }
}
