package import SystemPackage

/// A system call that failed: which, on what, and why.
package struct SyscallFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The call as its man page names it, e.g. `openat2`.
    package let call: String
    /// What it was called on, escaped for a terminal; empty where there is no name.
    package let path: String
    package let errno: Errno

    package init(_ call: String, path: String = "", errno: Errno) {
        self.call = call
        self.path = path
        self.errno = errno
    }

    /// - Parameter code: a positive errno, as pthread_create(3) and its kin return it.
    package init(_ call: String, path: String = "", code: Int32) {
        self.init(call, path: path, errno: Errno(rawValue: code))
    }

    package var description: String {
        let reason = "\(errno)".lowercased()
        return path.isEmpty ? "\(call): \(reason)" : "\(call) '\(path)': \(reason)"
    }

    package var isMissing: Bool { errno == .noSuchFileOrDirectory }
    /// Whether a name leads to something else than was found under it before (`Directory.openFile`).
    package var isReplacement: Bool {
        [.staleNFSFileHandle, .tooManySymbolicLinkLevels, .isDirectory, .noSuchAddressOrDevice].contains(
            errno)
    }
    package var isTaken: Bool { errno == .fileExists }
    /// Whether the kernel could make nothing of an argument.
    package var isInvalid: Bool { errno == .invalidArgument }
    package var isUnsupported: Bool { errno == .notSupported }
    /// Whether the device or the quota is full.
    package var isOutOfSpace: Bool { errno == .noSpace || errno == .diskQuotaExceeded }
    /// Whether the disk failed, which says nothing of what could be done on a good one.
    package var isDiskFault: Bool { isOutOfSpace || errno == .ioError }
    package var isPermission: Bool { errno == .notPermitted || errno == .permissionDenied }
}

/// Runs a CKernel call until it is not interrupted; a negative result is thrown as its errno.
///
/// - Parameter creates: whether it may make a file, where the call's name does not tell.
@discardableResult
func syscall<Result: FixedWidthInteger & SignedInteger>(
    _ call: String, _ path: @autoclosure () -> String = "", creates: Bool = false, _ body: () -> Result
) throws(SyscallFailure) -> Result {
    #if DEBUG
        if FaultPoint.isArmed, creates || FaultPoint.isChange(call, path()),
            try !FaultPoint.pass(call, path())
        {
            return 0
        }
    #endif
    while true {
        let result = body()
        if result >= 0 { return result }
        let errno = Errno(rawValue: CInt(-result))
        if errno != .interrupted { throw SyscallFailure(call, path: path(), errno: errno) }
    }
}
