internal import CKernel
package import SystemPackage

/// A system call that failed: which, on what, and why.
package struct SyscallFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The call as its man page names it, e.g. `openat2`.
    package let call: String
    /// What it was called on, escaped for a terminal; empty where there is no name.
    package let path: String
    package let errno: Errno
    /// What the errno leaves open; nil if it was not looked at.
    package let cause: Cause?

    /// Why a call failed, found out at the moment of the failure.
    package enum Cause: Equatable, Sendable {
        /// The file system has no space left.
        case noSpace
        /// It has no inodes left.
        case noInodes
        /// It has both, so that a structure of its own is full: a directory, or the metadata of btrfs.
        case fullStructure
        /// It takes no extended attribute of so many bytes, alone or beside the others of the file.
        case largeAttribute(Int)
        /// It takes no symlink with so many bytes of target, and other file systems do.
        case longTarget(Int)
    }

    package init(_ call: String, path: String = "", errno: Errno, cause: Cause? = nil) {
        self.call = call
        self.path = path
        self.errno = errno
        self.cause = cause
    }

    /// - Parameter code: a positive errno, as pthread_create(3) and its kin return it.
    package init(_ call: String, path: String = "", code: Int32) {
        self.init(call, path: path, errno: Errno(rawValue: code))
    }

    package var description: String {
        path.isEmpty ? "\(call): \(reason)" : "\(call) '\(path)': \(reason)"
    }

    /// Why, without the call.
    package var reason: String {
        switch cause {
        case .noInodes: "no inodes left on the file system"
        case .largeAttribute(let size): "the file system has no room for an attribute of \(size) bytes"
        case .longTarget(let size): "the file system takes no link target of \(size) bytes"
        case .noSpace, .fullStructure, nil: "\(errno)".lowercased()
        }
    }

    /// The path of failures that are about the standard output.
    package static let standardOutput = "standard output"

    /// Whether it is about the standard output.
    package var isStandardOutput: Bool { path == Self.standardOutput }

    /// Whether the system refused a thread or a process.
    package var isRefusedProcess: Bool {
        // A mount is performed on a thread of its own (`ck_mount_from`).
        if call == "mount" { return errno == .resourceTemporarilyUnavailable }
        let starts = ["pthread_create", "fork", "posix_spawn", "posix_spawnp"].contains(call)
        return starts && [.resourceTemporarilyUnavailable, .notPermitted, .noFunction].contains(errno)
    }

    package var isMissing: Bool { errno == .noSuchFileOrDirectory }
    /// Whether a name leads to something else than was found under it before (`Directory.openFile`).
    package var isReplacement: Bool {
        [.staleNFSFileHandle, .tooManySymbolicLinkLevels, .isDirectory, .noSuchAddressOrDevice].contains(
            errno)
    }
    /// Whether the caller of a long call did not want it any more.
    package var isCancelled: Bool { errno == .canceled }
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
/// - Parameters:
///   - creates: whether it may make a file, where the call's name does not tell.
///   - descriptor: of anything in the file system that may be full.
///   - attribute: bytes of an extended attribute's value, if the call sets one.
@discardableResult
func syscall<Result: FixedWidthInteger & SignedInteger>(
    _ call: String, _ path: @autoclosure () -> String = "", creates: Bool = false, in descriptor: CInt = -1,
    attribute: Int? = nil, _ body: () -> Result
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
        if errno == .interrupted { continue }
        let cause = errno == .noSpace ? SyscallFailure.Cause(in: descriptor, attribute: attribute) : nil
        throw SyscallFailure(call, path: path(), errno: errno, cause: cause)
    }
}

extension SyscallFailure.Cause {
    /// Bytes: a file system that has less free is full.
    private static let little: Int64 = 1 << 20

    /// Of ENOSPC, by what the file system has free.
    fileprivate init?(in descriptor: CInt, attribute: Int?) {
        var inodes: UInt64 = 0
        let bytes = ck_free_bytes(descriptor, 0)
        guard bytes >= 0, ck_free_inodes(descriptor, &inodes) == 0 else { return nil }
        if bytes < Self.little {
            self = .noSpace
        } else if inodes == 0 {
            // tmpfs takes attributes from what it has for inodes (kernel: mm/shmem.c, from 6.6 on).
            self = .noInodes
        } else {
            self = attribute.map(Self.largeAttribute) ?? .fullStructure
        }
    }
}
