internal import CKernel
package import SystemPackage

/// A failed system call: its name, its subject and the reason.
package struct SyscallFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// Name of the call as in its man page, e.g. `openat2`.
    package let call: String
    /// Subject of the call, escaped for a terminal; empty if it has no name.
    package let path: String
    package let errno: Errno
    /// Details that the errno does not tell; nil if they were not determined.
    package let cause: Cause?

    /// Reason of a failure, determined right after it.
    package enum Cause: Equatable, Sendable {
        /// The file system has no space left.
        case noSpace
        /// The file system has no inodes left.
        case noInodes
        /// There is free space and a free inode, so that a structure of the file system is full: a directory, or the
        /// metadata of btrfs.
        case metadataFull
        /// The file system cannot store an extended attribute of this many bytes, alone or together with the other
        /// attributes of the file.
        case largeAttribute(Int)
        /// The file system cannot store a symlink target of this many bytes, unlike other file systems.
        case longTarget(Int)
        /// The message of a program that made the system calls.
        case message(String)
    }

    package init(_ call: String, path: String = "", errno: Errno, cause: Cause? = nil) {
        self.call = call
        self.path = path
        self.errno = errno
        self.cause = cause
    }

    /// - Parameter code: a positive errno, as pthread_create(3) and similar functions return it.
    package init(_ call: String, path: String = "", code: Int32) {
        self.init(call, path: path, errno: Errno(rawValue: code))
    }

    package var description: String {
        path.isEmpty ? "\(call): \(reason)" : "\(call) '\(path)': \(reason)"
    }

    /// The reason, without the call and its subject.
    package var reason: String {
        switch cause {
        case .noInodes: "no inodes left on the file system"
        case .largeAttribute(let size): "the file system cannot store an attribute of \(size) bytes"
        case .longTarget(let size): "the file system cannot store a link target of \(size) bytes"
        case .message(let text): escaped(text.utf8)
        case .noSpace, .metadataFull, nil: "\(errno)".lowercased()
        }
    }

    /// `path` of failures of standard output.
    package static let standardOutput = "standard output"

    package var isStandardOutput: Bool { path == Self.standardOutput }

    /// Whether the system refused a thread or a process.
    package var isProcessRefused: Bool {
        // mount(2) runs on a new thread (`ck_mount_from`).
        if call == "mount" { return errno == .resourceTemporarilyUnavailable }
        let starts = ["pthread_create", "fork", "posix_spawn", "posix_spawnp"].contains(call)
        return starts && [.resourceTemporarilyUnavailable, .notPermitted, .noFunction].contains(errno)
    }

    package var isMissing: Bool { errno == .noSuchFileOrDirectory }
    package var isExistingFile: Bool { errno == .fileExists }
    /// Whether the kernel rejected an argument.
    package var isInvalid: Bool { errno == .invalidArgument }
    package var isUnsupported: Bool { errno == .notSupported }
    /// Whether the device or the quota is full.
    package var isOutOfSpace: Bool { errno == .noSpace || errno == .diskQuotaExceeded }
    /// Whether the device is full or faulty, so that the failure does not show what the file system supports.
    package var isDiskFault: Bool { isOutOfSpace || errno == .ioError }
    package var isPermission: Bool { errno == .notPermitted || errno == .permissionDenied }
}

/// Runs a CKernel call, repeating it after EINTR. Throws a negative result as its errno.
///
/// - Parameters:
///   - creates: whether the call may make a file although its name does not tell.
///   - descriptor: any descriptor in the file system that may be full, to find the cause of ENOSPC.
///   - attribute: size in bytes of the extended attribute's value, if the call sets one.
///   - skipped: the result of a call that `FaultPoint` skips.
@discardableResult
func syscall<Result: FixedWidthInteger & SignedInteger>(
    _ call: String, _ path: @autoclosure () -> String = "", creates: Bool = false, in descriptor: CInt = -1,
    attribute: Int? = nil, skipped: Result = 0, _ body: () -> Result
) throws(SyscallFailure) -> Result {
    #if FAULT_POINTS
        if FaultPoint.isArmed, creates || FaultPoint.isChange(call, path()),
            try !FaultPoint.pass(call, path())
        {
            return skipped
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
    /// In bytes: a file system with less free space is full.
    private static let minimumFreeBytes: Int64 = 1 << 20

    /// The cause of an ENOSPC, derived from the free space and inodes of the file system.
    fileprivate init?(in descriptor: CInt, attribute: Int?) {
        var inodes: UInt64 = 0
        let bytes = ck_free_bytes(descriptor, 0)
        guard bytes >= 0, ck_free_inodes(descriptor, &inodes) == 0 else { return nil }
        if bytes < Self.minimumFreeBytes {
            self = .noSpace
        } else if inodes == 0 {
            // tmpfs counts attributes against its limit of inodes (kernel: mm/shmem.c, 6.6 and later).
            self = .noInodes
        } else {
            self = attribute.map(Self.largeAttribute) ?? .metadataFull
        }
    }
}
