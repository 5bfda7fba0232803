internal import CKernel
internal import Glibc

extension Process {
    /// Maximum size in bytes of the part of a program's output that is kept.
    private static let maximumTextSize = 1 << 16

    /// Runs a program and waits for it. Its stdin is /dev/null, and it starts with no signal blocked.
    ///
    /// - Parameters:
    ///   - program: looked up in PATH, unless it contains a slash.
    ///   - arguments: without the program's name.
    ///   - keepsOutput: whether the result has its standard output, too, which is discarded otherwise.
    /// - Returns: the exit status, or 128 plus the signal that ended it; and the first 64 KiB of its standard error, and
    ///   of its standard output with it.
    /// - Throws: ENOENT if the program is missing, EACCES if it may not be executed (posix_spawnp(3)).
    package static func run(
        _ program: String, _ arguments: [String], keepsOutput: Bool = false
    ) throws(SyscallFailure) -> (status: Int32, text: String) {
        let pipe = try Pipe()
        let reading = pipe.readEnd
        let process = try spawn(program, arguments, printsTo: pipe.writeEnd, keepsOutput: keepsOutput)
        // Everything is read, even what is not kept: a full pipe would block the program.
        var text = [UInt8]()
        let end = Result { () throws(SyscallFailure) in
            var chunk = [UInt8]()
            repeat {
                try reading.read(into: &chunk, limit: 1 << 12)
                text += chunk.prefix(maximumTextSize - text.count)
            } while !chunk.isEmpty
        }
        let status = try syscall("waitpid", program) { ck_wait(process) }
        try end.get()
        return (status, String(decoding: text, as: UTF8.self))
    }

    /// - Parameter pipe: closed here once the program has it, so that the reader gets end of file.
    private static func spawn(
        _ program: String, _ arguments: [String], printsTo pipe: consuming File, keepsOutput: Bool
    ) throws(SyscallFailure) -> CInt {
        let words = ([program] + arguments).map { strdup($0) }
        defer { words.forEach { free($0) } }
        let raw = pipe.raw
        return try syscall("posix_spawnp", escaped(program.utf8)) {
            ck_spawn(program, words + [nil], keepsOutput ? raw : -1, raw)
        }
    }

    /// Starts this program again as a detached process: in a session of its own and in `/`, inheriting only the
    /// environment. This process does not wait for it.
    ///
    /// - Throws: EAGAIN, ENOMEM and the like if the system starts no process (posix_spawn(3)).
    package static func startDetached(_ arguments: [String]) throws(SyscallFailure) {
        let words = (["unpack"] + arguments).map { strdup($0) }
        let environment = environment().filter { !FaultPoint.isSetting($0) }.map { strdup($0) }
        defer { (words + environment).forEach { free($0) } }
        // The executable of this process, even if its path leads to another file by now.
        try syscall("posix_spawn", "/proc/self/exe") {
            ck_spawn_detached("/proc/self/exe", words + [nil], environment + [nil])
        }
    }

    /// Replaces this process by another program (execvp(3)), which inherits the standard streams and the umask, limits
    /// and signals that this process was started with.
    ///
    /// - Throws: ENOENT, EACCES and the like; does not return on success.
    package static func execute(_ program: String, _ arguments: [String]) throws(SyscallFailure) {
        let words = ([program] + arguments).map { strdup($0) }
        defer { words.forEach { free($0) } }
        ck_restore_process()
        execvp(program, words + [nil])
        throw SyscallFailure("execvp", path: escaped(program.utf8), code: errno)
    }

    /// Whether this is the init process of its PID namespace, whose end kills all others (pid_namespaces(7)).
    package static var isInit: Bool { getpid() == 1 }
}
