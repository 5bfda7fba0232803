internal import CKernel
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// A step after which the disk has something else than before: a system call that changes a file system, or a
/// transaction of the database. A debug build can be stopped at each of them, or told that it failed, so that tests can
/// prove what is left (`docs/testing.md`). In a release build this does nothing and is nothing.
///
/// The environment says what happens:
///
///     UNPACK_FAULT=list           nothing but the log
///     UNPACK_FAULT=17:kill        the process is killed when it comes to point 17, as by `kill -9`
///     UNPACK_FAULT=17:ENOSPC      point 17 fails so; EIO likewise
///     UNPACK_FAULT=17:full        from point 17 on whatever needs room fails with ENOSPC, until something is removed
///     UNPACK_FAULT=skip:syncfs    no call of that name is made, and each is said to have succeeded
///     UNPACK_FAULT_LOG=FILE       a line for each point that was come to: number, step, what it was about
///
/// Points are numbered from 1 over all threads.
package enum FaultPoint {
    /// Comes to the point before a step.
    ///
    /// - Parameter canFail: false where a step is over, and only a crash can come.
    /// - Returns: false where the step is to be left out.
    @discardableResult
    package static func pass(
        _ step: String, _ subject: @autoclosure () -> String = "", canFail: Bool = true
    ) throws(SyscallFailure) -> Bool {
        #if DEBUG
            guard let plan else { return true }
            return try plan.pass(step, subject(), canFail: canFail)
        #else
            return true
        #endif
    }

    /// What the program says on stderr is no step.
    static let talk = "stderr"

    #if DEBUG
        static var isArmed: Bool { plan != nil }
        private static let plan = FaultPlan()

        /// Whether a call changes what is on a disk. One that opens may create, which its name does not tell.
        static func isChange(_ call: String, _ subject: String) -> Bool {
            // What asks about subvolumes and inodes, and what makes a file a device, changes no disk.
            if call == "ioctl" {
                return !["LOOKUP", "LOOP_", "GETXATTR"].contains { subject.contains($0) }
            }
            return changes.contains(call) && subject != talk
        }

        private static let changes: Set = [
            "mkdirat", "mknodat", "symlinkat", "linkat", "unlinkat", "renameat2",
            "write", "pwrite", "ftruncate", "fallocate", "copy_file_range",
            "fchown", "fchownat", "fchmod", "chmod", "futimens", "utimensat",
            "fsetxattr", "lsetxattr", "fremovexattr", "fsync", "fdatasync", "syncfs",
        ]
    #endif
}

#if DEBUG
    /// What the environment asks for.
    private final class FaultPlan: Sendable {
        private enum Fault {
            case none
            case kill(at: Int)
            case failure(Errno, at: Int)
            case full(from: Int)
            case skip(String)
        }

        private let fault: Fault
        /// A descriptor that nobody closes; nil where nothing is logged.
        private let log: CInt?
        private let count = Atomic<Int>(0)
        private let isFull = Atomic<Bool>(false)

        /// Nil where nothing is asked for.
        init?() {
            guard let text = getenv("UNPACK_FAULT").map({ String(cString: $0) }) else { return nil }
            guard let fault = Self.fault(text) else {
                // Debug builds only: a harness that is misspelt would try nothing, and find everything right.
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
                // One call, so that lines of several threads do not mix.
                let line = Array("\(number) \(step) \(subject)\n".utf8)
                _ = ck_write(log, line, line.count)
            }
            switch fault {
            case .kill(at: number):
                kill(getpid(), SIGKILL)
                // It takes a moment to come.
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
