internal import CKernel
internal import Glibc
package import SystemPackage

/// Major and minor version of a kernel release (uname(2)).
package struct KernelRelease: Comparable, Sendable, CustomStringConvertible {
    package let major: Int
    package let minor: Int

    /// The first release with all system calls that the program needs: mount_setattr(2) is the latest of them.
    package static let minimum = KernelRelease(major: 5, minor: 12)

    package init(major: Int, minor: Int) {
        self.major = major
        self.minor = minor
    }

    package static var current: KernelRelease {
        var system = utsname()
        uname(&system)
        let release = withUnsafeBytes(of: &system.release) { String(decoding: $0, as: UTF8.self) }
        let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        return KernelRelease(major: numbers.first ?? 0, minor: numbers.last ?? 0)
    }

    package var description: String { "\(major).\(minor)" }

    package static func < (left: Self, right: Self) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }
}

extension File {
    /// Reads a small file completely.
    ///
    /// - Parameter limit: maximum number of bytes; the rest is not read.
    package static func contents(
        of path: FilePath, limit: Int = .max
    ) throws(SyscallFailure) -> [UInt8] {
        let file = try open(path, .read)
        var contents = [UInt8]()
        var chunk = [UInt8]()
        repeat {
            try file.read(into: &chunk, limit: min(1 << 16, limit - contents.count))
            contents += chunk
        } while !chunk.isEmpty
        return contents
    }
}

extension FilePath {
    package static func workingDirectory() throws(SyscallFailure) -> FilePath { try FilePath(".").resolved() }

    /// The absolute path without symlinks, `.` and `..` (realpath(3)).
    ///
    /// - Throws: ENOENT if the path does not exist.
    package func resolved() throws(SyscallFailure) -> FilePath {
        guard let resolved = withPlatformString({ realpath($0, nil) }) else {
            throw SyscallFailure("realpath", path: escaped(self), code: errno)
        }
        defer { free(resolved) }
        return FilePath(platformString: resolved)
    }
}

extension FilePath {
    /// The absolute path from the working directory: the existing part resolved, the rest normalized lexically.
    package func absolute() throws(SyscallFailure) -> FilePath {
        var there = isAbsolute ? self : try FilePath.workingDirectory().pushing(self)
        var rest = [FilePath.Component]()
        while true {
            if let resolved = try? there.resolved() {
                return resolved.appending(rest.reversed()).lexicallyNormalized()
            }
            guard let last = there.lastComponent, there.removeLastComponent() else { return there }
            rest.append(last)
        }
    }

    /// The absolute path as `absolute`, but a symlink as the last component is not followed.
    package func absoluteNotFollowing() throws(SyscallFailure) -> FilePath {
        guard let last = lastComponent, last.kind == .regular else { return try absolute() }
        let parent = removingLastComponent()
        return try (parent.isEmpty ? "." : parent).absolute().appending(last)
    }

    /// Whether the path exists; symlinks are followed.
    package func exists() throws(SyscallFailure) -> Bool {
        do {
            _ = try resolved()
            return true
        } catch {
            if error.isMissing { return false }
            throw error
        }
    }
}

/// State of the whole process, set up once by `main` before any other thread starts.
package enum Process {
    package static var effectiveUserID: UInt32 { geteuid() }
    package static var effectiveGroupID: UInt32 { getegid() }
    /// Whether new files belong to 0:0, unless they inherit a group.
    package static var ownsNewFilesAsRoot: Bool { effectiveUserID == 0 && effectiveGroupID == 0 }

    /// Sets up the process: no umask, so that modes are set as given; the maximum number of descriptors, because a
    /// merged tree keeps one open per layer; and the default action of SIGCHLD, so that children can be waited for.
    /// Idempotent.
    package static func setUp() { ck_set_up_process() }

    /// The umask that the process was started with, for output that the user gets outside of the store.
    package static var inheritedModeMask: UInt32 { ck_inherited_mask() }

    /// Ignores SIGPIPE and SIGXFSZ, so that writes fail with EPIPE if the reader has closed the pipe, or EFBIG at the
    /// file size limit (setrlimit(2), RLIMIT_FSIZE), instead of the process ending with unfinished work.
    package static func ignoreWriteSignals() {
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
    }

    /// Occupies the numbers of standard streams that are closed, so that no file of the store gets them. Writing to
    /// such a stream fails.
    package static func reserveStandardStreams() throws(SyscallFailure) {
        for descriptor in STDIN_FILENO...STDERR_FILENO {
            try syscall("open", "/dev/null") { ck_reserve(descriptor) }
        }
    }

    /// Calls `body` when libdispatch, on which Swift tasks run, has waited for 5 s for a thread. Otherwise it would
    /// wait for ever.
    ///
    /// - Parameter body: runs on the waiting thread, and is expected to end the process.
    package static func onThreadStarvation(_ body: @escaping @convention(c) () -> Void) {
        ck_on_missing_threads(body)
    }

    /// Path of the executable; nil if it cannot be resolved.
    package static func executablePath() -> FilePath? { try? FilePath("/proc/self/exe").resolved() }

    /// Calls `body` on a thread of its own at the first SIGINT or SIGTERM. A later one ends the process at once, unless
    /// it arrives within a second: timeout(1) and others send one signal both to the process and to its group.
    ///
    /// - Parameters:
    ///   - stopping: called at SIGTSTP (Ctrl-Z) with the function that stops the process and returns when it continues.
    ///   - continued: called at SIGCONT, which also follows a SIGSTOP.
    /// - Precondition: no other thread has started. Later threads inherit the signal mask, so that only this one
    ///   receives the signals.
    /// - Throws: `SyscallFailure` if the system refuses the thread; the signals then keep their default action.
    package static func onTermination(
        _ body: @escaping @Sendable (Int32) -> Void,
        stopping: @escaping @Sendable (_ stop: () -> Void) -> Void = { $0() },
        continued: @escaping @Sendable () -> Void = {}
    ) throws(SyscallFailure) {
        var set = sigset_t()
        _ = ck_block_termination(&set)
        let watched = set
        do throws(SyscallFailure) {
            try startSignalThread(watched, body, stopping, continued)
        } catch {
            pthread_sigmask(SIG_UNBLOCK, &set, nil)
            throw error
        }
    }

    private static func startSignalThread(
        _ watched: sigset_t, _ body: @escaping @Sendable (Int32) -> Void,
        _ stopping: @escaping @Sendable (() -> Void) -> Void, _ continued: @escaping @Sendable () -> Void
    ) throws(SyscallFailure) {
        try startDetachedThread {
            var set = watched
            var start: Int64?
            while true {
                let signal = ck_wait_signal(&set)
                switch signal {
                case SIGTSTP: stopping { ck_stop_process() }
                case SIGCONT: continued()
                default:
                    if let start {
                        if nanosecondsSinceEpoch() - start > 1_000_000_000 { _exit(128 + signal) }
                    } else {
                        start = nanosecondsSinceEpoch()
                        body(signal)
                    }
                }
            }
        }
    }
}

private final class ThreadBody: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

private func startDetachedThread(_ body: @escaping @Sendable () -> Void) throws(SyscallFailure) {
    var thread = pthread_t()
    let retained = Unmanaged.passRetained(ThreadBody(body))
    let box = retained.toOpaque()
    let failure = pthread_create(
        &thread, nil,
        { box in
            if let box { Unmanaged<ThreadBody>.fromOpaque(box).takeRetainedValue().body() }
            return nil
        }, box)
    if failure != 0 {
        retained.release()
        throw SyscallFailure("pthread_create", code: failure)
    }
    pthread_detach(thread)
}

extension Process {
    /// Ends the process at once, without destructors (_exit(2)).
    package static func end(_ status: Int32) -> Never { _exit(status) }

    package static func sleep(milliseconds: UInt32) { usleep(milliseconds * 1000) }

    /// ID of the current boot (random(4), `boot_id`).
    package static func bootID() throws(SyscallFailure) -> String {
        let bytes = try File.contents(of: "/proc/sys/kernel/random/boot_id")
        return String(decoding: bytes.filter { $0 > 0x20 }, as: UTF8.self)
    }

    package static func nanosecondsSinceEpoch() -> Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
    }
}
