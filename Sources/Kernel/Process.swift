internal import CKernel
internal import Glibc
package import SystemPackage

/// `uname -r`, as far as it is a number.
package struct KernelRelease: Comparable, Sendable {
    package let major: Int
    package let minor: Int

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

    package static func < (left: Self, right: Self) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }
}

extension File {
    /// A small file, whole.
    ///
    /// - Parameter limit: bytes after which no more is read.
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

    /// Absolute, without symlinks, `.` and `..` (realpath(3)). It must exist.
    package func resolved() throws(SyscallFailure) -> FilePath {
        guard let resolved = withPlatformString({ realpath($0, nil) }) else {
            throw SyscallFailure("realpath", path: escaped(self), code: errno)
        }
        defer { free(resolved) }
        return FilePath(platformString: resolved)
    }
}

extension FilePath {
    /// From the working directory: resolved as far as it exists, as text after that.
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

    /// As `absolute`, but the last component is not followed if it is a symlink.
    package func absoluteName() throws(SyscallFailure) -> FilePath {
        guard let last = lastComponent, last.kind == .regular else { return try absolute() }
        let parent = removingLastComponent()
        return try (parent.isEmpty ? "." : parent).absolute().appending(last)
    }

    /// Whether anything is there, symlinks followed.
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

/// The process as a whole: set up once, by `main`, before any thread.
package enum Process {
    package static var effectiveUserID: UInt32 { geteuid() }
    package static var effectiveGroupID: UInt32 { getegid() }
    /// Whether what this process makes belongs to 0:0, where nothing else is inherited.
    package static var makesFilesOfRoot: Bool { effectiveUserID == 0 && effectiveGroupID == 0 }

    /// Modes are what is asked for, whatever the shell's umask; as many descriptors as the system gives, for a merged tree keeps
    /// one a layer; and children are heard of.
    package static func takeOver() { ck_take_over() }

    /// The bits that the shell's umask takes from what the user gets beside the store.
    package static var inheritedModeMask: UInt32 { ck_inherited_mask() }

    /// Makes a write report that its reader has gone (EPIPE), or that the file is as large as it may be (EFBIG, setrlimit(2)
    /// RLIMIT_FSIZE), instead of a signal that leaves work half done.
    package static func ignoreWriteSignals() {
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
    }

    /// Fills the places of standard streams that are closed, so that no file of the store gets their numbers. Writing
    /// to such a stream fails, as it should.
    package static func reserveStandardStreams() throws(SyscallFailure) {
        for descriptor in STDIN_FILENO...STDERR_FILENO {
            try syscall("open", "/dev/null") { ck_reserve(descriptor) }
        }
    }

    /// Calls `body` when libdispatch, which Swift's tasks run on, has not got a thread for 5 s: it would wait without end.
    ///
    /// - Parameter body: runs on the thread that waits, and is expected to end the process.
    package static func onMissingThreads(_ body: @escaping @convention(c) () -> Void) {
        ck_on_missing_threads(body)
    }

    /// The program's own file.
    package static func executablePath() -> FilePath? { try? FilePath("/proc/self/exe").resolved() }

    /// Says on its own thread when SIGINT or SIGTERM comes; one more ends the process at once, unless it comes within a second:
    /// who sends one to a process and to its group, as timeout(1) does, means one.
    ///
    /// Call it before any other thread starts: threads inherit the mask that keeps the signals for this one.
    ///
    /// - Throws: `SyscallFailure` if the system refuses the thread; the signals then end the process as before.
    package static func onTermination(
        _ body: @escaping @Sendable (Int32) -> Void
    ) throws(SyscallFailure) {
        var set = sigset_t()
        _ = ck_block_termination(&set)
        let watched = set
        do throws(SyscallFailure) {
            try startWatching(watched, body)
        } catch {
            pthread_sigmask(SIG_UNBLOCK, &set, nil)
            throw error
        }
    }

    private static func startWatching(
        _ watched: sigset_t, _ body: @escaping @Sendable (Int32) -> Void
    ) throws(SyscallFailure) {
        try startDetached {
            var set = watched
            let first = ck_wait_signal(&set)
            let start = nanosecondsSinceEpoch()
            body(first)
            while true {
                let next = ck_wait_signal(&set)
                if nanosecondsSinceEpoch() - start > 1_000_000_000 { _exit(128 + next) }
            }
        }
    }
}

private final class Watcher: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

private func startDetached(_ body: @escaping @Sendable () -> Void) throws(SyscallFailure) {
    var thread = pthread_t()
    let watcher = Unmanaged.passRetained(Watcher(body))
    let box = watcher.toOpaque()
    let failure = pthread_create(
        &thread, nil,
        { box in
            if let box { Unmanaged<Watcher>.fromOpaque(box).takeRetainedValue().body() }
            return nil
        }, box)
    if failure != 0 {
        watcher.release()
        throw SyscallFailure("pthread_create", code: failure)
    }
    pthread_detach(thread)
}

extension Process {
    /// Ends the process at once, without destructors (_exit(2)).
    package static func end(_ status: Int32) -> Never { _exit(status) }

    package static func sleep(milliseconds: UInt32) { usleep(milliseconds * 1000) }

    /// Names the time since the kernel started (random(4), `boot_id`).
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
