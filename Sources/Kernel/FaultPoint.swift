internal import CKernel
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// A point before each step that changes a disk: a system call that changes a file system, or a transaction of the
/// database. In the builds that the tests use, tests make the process crash or fail at a chosen point and check what is
/// left (`docs/testing.md`). In the program that users get this does nothing.
///
/// Environment variables select the fault:
///
///     UNPACK_FAULT=list           no fault, only the log
///     UNPACK_FAULT=17:kill        the process is killed at point 17, as by `kill -9`
///     UNPACK_FAULT=17:ENOSPC      the step at point 17 fails with this errno; EIO and others likewise
///     UNPACK_FAULT=17:full        from point 17 on, steps that need space fail with ENOSPC until something is removed
///     UNPACK_FAULT=skip:syncfs    calls of this name are skipped and reported as successful
///     UNPACK_FAULT_LOG=FILE       a line per point that is reached: number, step, subject
///
/// Points are numbered from 1 across all threads.
package enum FaultPoint {
    /// Marks the point before a step.
    ///
    /// - Parameter canFail: false after a completed step, where only a crash can be injected.
    /// - Returns: false if the step is to be skipped.
    @discardableResult
    package static func pass(
        _ step: String, _ subject: @autoclosure () -> String = "", canFail: Bool = true
    ) throws(SyscallFailure) -> Bool {
        #if FAULT_POINTS
            guard let plan else { return true }
            return try plan.pass(step, subject(), canFail: canFail)
        #else
            return true
        #endif
    }

    /// Whether a variable of the environment, `NAME=VALUE`, selects a fault, which concerns this process only.
    static func isSetting(_ variable: [CChar]) -> Bool {
        #if FAULT_POINTS
            return variable.hasPrefix("UNPACK_FAULT")
        #else
            return false
        #endif
    }

    /// Subject of writes to stderr, which are not counted as steps.
    static let standardError = "stderr"

    #if FAULT_POINTS
        static var isArmed: Bool { plan != nil }
        private static let plan = FaultPlan()

        /// Whether a call changes a disk, judged by its name. Calls that open files pass `creates` to `syscall`
        /// instead.
        static func isChange(_ call: String, _ subject: String) -> Bool {
            // These ioctls query subvolumes, inodes and devices or set up loop devices: no disk changes.
            if call == "ioctl" {
                return !["LOOKUP", "LOOP_", "GETXATTR", "MEASURE", "STATUS"].contains { subject.contains($0) }
            }
            return changes.contains(call) && subject != standardError
        }

        private static let changes: Set = [
            "mkdirat", "mknodat", "symlinkat", "linkat", "unlinkat", "renameat2",
            "write", "pwrite", "ftruncate", "fallocate", "copy_file_range",
            "fchown", "fchownat", "fchmod", "chmod", "futimens", "utimensat",
            "fsetxattr", "lsetxattr", "fremovexattr", "fsync", "fdatasync", "syncfs",
        ]
    #endif
}

#if FAULT_POINTS
    /// The fault that the environment selects, and the number of points passed.
    private final class FaultPlan: Sendable {
        private enum Fault {
            case none
            case kill(at: Int)
            case failure(Errno, at: Int)
            case full(from: Int)
            case skip(String)
        }

        private let fault: Fault
        /// Descriptor of the log, never closed; nil if nothing is logged.
        private let log: CInt?
        private let count = Atomic<Int>(0)
        private let isFull = Atomic<Bool>(false)

        /// Nil if `UNPACK_FAULT` is not set.
        init?() {
            guard let text = getenv("UNPACK_FAULT").map({ String(cString: $0) }) else { return nil }
            guard let fault = Self.fault(text) else {
                // Builds for tests only: a mistyped fault would inject nothing, and every test would pass.
                fatalError("UNPACK_FAULT=\(text): see FaultPoint.swift")
            }
            self.fault = fault
            let path = getenv("UNPACK_FAULT_LOG").map { String(cString: $0) }
            log = path.map { ck_openat(AT_FDCWD, $0, O_WRONLY | O_CREAT | O_APPEND, 0o600) }
        }

        private static func fault(_ text: String) -> Fault? {
            if text == "list" { return Fault.none }
            let parts = text.split(separator: ":").map(String.init)
            guard parts.count == 2 else { return nil }
            if parts[0] == "skip" { return .skip(parts[1]) }
            guard let point = Int(parts[0]) else { return nil }
            return switch parts[1] {
            case "kill": .kill(at: point)
            case "full": .full(from: point)
            default: errnos[parts[1]].map { .failure($0, at: point) }
            }
        }

        private static let errnos: [String: Errno] = [
            "ENOSPC": .noSpace, "EIO": .ioError, "EDQUOT": .diskQuotaExceeded,
            "ENFILE": .tooManyOpenFilesInSystem,
            "ENOMEM": .noMemory, "EXDEV": .improperLink, "ESTALE": .staleNFSFileHandle,
            "ETXTBSY": .textFileBusy,
            "EMLINK": .tooManyLinks, "ENOLCK": .noLocks,
        ]

        func pass(_ step: String, _ subject: String, canFail: Bool) throws(SyscallFailure) -> Bool {
            let number = count.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
            if let log {
                // One call per line, so that lines of several threads do not mix.
                let line = Array("\(number) \(step) \(subject)\n".utf8)
                _ = ck_write(log, line, line.count)
            }
            switch fault {
            case .kill(at: number):
                kill(getpid(), SIGKILL)
                // The signal is delivered asynchronously.
                while true { pause() }
            case .failure(let errno, at: number) where canFail:
                throw SyscallFailure(step, path: subject, errno: errno)
            case .full(let first) where number >= first:
                if number == first { isFull.store(true, ordering: .sequentiallyConsistent) }
                if Self.makesRoom(step, subject) { isFull.store(false, ordering: .sequentiallyConsistent) }
                if canFail, Self.needsRoom(step), isFull.load(ordering: .sequentiallyConsistent) {
                    throw SyscallFailure(step, path: subject, errno: .noSpace)
                }
                return true
            case .skip(step): return false
            default: return true
            }
        }

        private static func makesRoom(_ step: String, _ subject: String) -> Bool {
            step == "unlinkat" || subject.contains("DESTROY")
        }

        private static func needsRoom(_ step: String) -> Bool {
            let modest: Set = [
                "unlinkat", "renameat2", "fchown", "fchownat", "fchmod", "chmod", "futimens", "utimensat",
                "fremovexattr", "fsync", "fdatasync", "syncfs", "BEGIN",
            ]
            return !modest.contains(step)
        }
    }
#endif
