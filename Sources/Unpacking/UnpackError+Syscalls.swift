package import Kernel
internal import SystemPackage

/// Converts a failed system call to a code and a hint for its cause. `docs/errors.md` lists the common causes.
extension UnpackError {
    /// Where a command writes files, for its hints.
    enum Destination {
        /// The store in ROOT.
        case store
        /// A directory outside of the store, e.g. of `--output`.
        case output

        fileprivate var elsewhere: String {
            switch self {
            case .store: "put the store elsewhere with --root DIR"
            case .output: "use a directory on another file system"
            }
        }

        fileprivate func on(_ fileSystem: String) -> String {
            switch self {
            case .store: "put the store on \(fileSystem) with --root DIR"
            case .output: "use a directory on \(fileSystem)"
            }
        }

        var space: String { "free some space, or \(elsewhere)" }
        var spaceOrLimit: String { "free some space, \(elsewhere), or set --max-bytes" }
    }

    package init(_ failure: SyscallFailure) { self.init(failure, to: .store) }

    init(_ failure: SyscallFailure, to destination: Destination) {
        if failure.isProcessRefused {
            self.init(.unavailable, "\(failure)", hint: Self.hint(forRefusedProcess: failure))
        } else if failure.isStandardOutput {
            self.init(
                .io, "cannot write to standard output: \(failure.reason)",
                hint: failure.isOutOfSpace ? "free some space there, or write to another file" : nil)
        } else if let cause = failure.cause {
            self.init(failure, because: cause, destination)
        } else if failure.isPermission {
            self.init(.permission, "\(failure)", hint: Self.hint(forRefused: failure))
        } else {
            let (code, hint) = Self.meaning(of: failure.errno, destination)
            self.init(code, "\(failure)", hint: hint)
        }
    }

    private init(
        _ failure: SyscallFailure, because cause: SyscallFailure.Cause, _ destination: Destination
    ) {
        switch cause {
        case .noSpace: self.init(.io, "\(failure)", hint: destination.space)
        case .noInodes:
            self.init(
                .io, "\(failure)",
                hint:
                    "remove files (df -i shows how many there are), or \(destination.on("a file system with more inodes"))"
            )
        case .metadataFull:
            self.init(
                .io, "\(failure)",
                hint:
                    "the file system has free space and inodes, and its metadata is full: see 'btrfs filesystem usage' or the kernel's log"
            )
        case .largeAttribute:
            self.init(
                .unavailable, "\(failure)",
                hint:
                    "\(destination.on("xfs or btrfs")), or on ext4 with large attributes (mke2fs -O ea_inode)"
            )
        case .longTarget:
            self.init(
                .unavailable, "\(failure)", hint: destination.on("ext4, btrfs or tmpfs"))
        case .message:
            let (code, hint) = Self.meaning(of: failure.errno, destination)
            self.init(code, "\(failure)", hint: hint)
        }
    }

    static let memory = "free some memory, or raise the limit of the container or service"

    private static func hint(forRefusedProcess failure: SyscallFailure) -> String {
        failure.errno == .resourceTemporarilyUnavailable
            ? "allow more processes and threads: ulimit -u, --pids-limit of a container, TasksMax= of a service"
            : "allow clone and clone3 in the seccomp profile: --security-opt seccomp=unconfined tries it without one"
    }

    /// The hint for EPERM and EACCES.
    private static func hint(forRefused failure: SyscallFailure) -> String? {
        if failure.call.hasPrefix("posix_spawn") || failure.call.hasPrefix("exec") {
            return "make the program executable, and store it on a file system that is mounted without noexec"
        }
        guard Process.effectiveUserID == 0 else { return "run it as root, e.g. with sudo" }
        guard let capability = failure.missingCapability else {
            return
                "root was refused: look for an immutable file (lsattr), a security module (the kernel's log) or a network file system that maps root to another user"
        }
        return hint(forMissing: capability)
    }

    private static func hint(forMissing capability: Capability) -> String {
        "it needs \(capability), which this root does not have: docker run --cap-add \("\(capability)".dropFirst(4))"
    }

    init(_ mismatch: FileMismatch, to destination: Destination) {
        switch mismatch {
        case .notRegular, .replaced:
            self.init(.io, "\(mismatch)", hint: "stop the process that changes the files, and try again")
        case .notKept(_, _, let isRefusal):
            self.init(
                isRefusal ? .permission : .unavailable, "\(mismatch)",
                hint: mismatch.missingCapability.map { Self.hint(forMissing: $0) }
                    ?? destination.on("ext4, xfs, btrfs or tmpfs") + ": this file system does not keep it")
        }
    }

    /// The code and the hint for an errno of unknown cause.
    private static func meaning(of errno: Errno, _ destination: Destination) -> (Code, String?) {
        switch errno {
        case .noSpace: (.io, destination.space)
        case .diskQuotaExceeded:
            (
                .io,
                "free some of the quota (quota, xfs_quota, btrfs qgroup), or \(destination.elsewhere)"
            )
        case .noSuchFileOrDirectory: (.notFound, nil)
        case .readOnlyFileSystem:
            (.io, "use a directory that can be written to; --root DIR sets that of the store")
        case .notDirectory: (.io, "name a directory")
        case .tooManyOpenFiles: (.io, "raise the limit of open files (ulimit -n)")
        case .tooManyOpenFilesInSystem: (.io, "raise the machine's limit of open files (sysctl fs.file-max)")
        case .noMemory: (.io, memory)
        case .ioError, needsCleaning:
            (.io, "the device or its connection failed: see the kernel's log, and check the file system")
        case .fileNameTooLong:
            (.usage, "use a shorter path: Linux allows 4095 bytes, and 255 between two slashes")
        case .tooManySymbolicLinkLevels:
            (.io, "correct the symbolic links of the path: they form a loop")
        case .improperLink:
            (
                .io,
                "keep the store on one file system, with no mount inside and with one project ID (lsattr -p)"
            )
        case .textFileBusy: (.io, "stop the program that runs from this file, or write to another file")
        case .resourceBusy: (.io, "stop the processes that use it: fuser -vm and findmnt list them")
        case .staleNFSFileHandle:
            (.io, "the server of the network file system has removed or replaced the file: try again")
        case .socketNotConnected, .timedOut:
            (.io, "the server of the network or FUSE file system does not answer: mount it again")
        case .fileTooLarge:
            (
                .io,
                "raise the limit of file sizes (ulimit -f), or use a file system that supports larger files"
            )
        case .tooManyLinks:
            (
                .unavailable,
                "\(destination.on("xfs")): this file system allows no more hard links to one file"
            )
        case .noLocks:
            (
                .io,
                "start the lock service of the network file system, or \(destination.elsewhere)"
            )
        case .operationNotSupportedByDevice:
            (.unavailable, "load the kernel's module for this file system: modprobe")
        case .noFunction:
            (
                .unavailable,
                "use a later kernel, or allow the call in the seccomp profile: see 'unpack doctor'"
            )
        case .notSupported:
            (
                .unavailable,
                "\(destination.on("ext4, xfs, btrfs or tmpfs")): this file system cannot do it"
            )
        default: (.io, nil)
        }
    }

    /// EUCLEAN.
    private static let needsCleaning = Errno(rawValue: 117)
}
