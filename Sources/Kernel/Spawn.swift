internal import CKernel
internal import Glibc

extension Process {
    /// What is kept of a program's error messages, in bytes.
    private static let longestErrors = 1 << 16

    /// Runs another program to its end. It reads nothing, what it prints is thrown away, and no signal is blocked in
    /// it, whatever this process blocks.
    ///
    /// - Parameters:
    ///   - program: looked up in PATH, unless it has a slash.
    ///   - arguments: without the program's own name.
    /// - Returns: the exit status, or 128 and the signal that has ended it; and what it wrote to its standard error,
    ///   the first 64 KiB of it.
    /// - Throws: ENOENT where there is no such program, EACCES where it may not be run (posix_spawnp(3)).
    package static func run(
        _ program: String, _ arguments: [String]
    ) throws(SyscallFailure) -> (status: Int32, errors: String) {
        var ends: [CInt] = [-1, -1]
        try syscall("pipe2") { ck_pipe(&ends) }
        let reading = File(adopting: ends[0])
        let process = try spawn(program, arguments, errors: File(adopting: ends[1]))
        // All is read, also what is not kept: a pipe that is full would stop the program.
        var errors = [UInt8]()
        let end = Result { () throws(SyscallFailure) in
            var chunk = [UInt8]()
            repeat {
                try reading.read(into: &chunk, limit: 1 << 12)
                errors += chunk.prefix(longestErrors - errors.count)
            } while !chunk.isEmpty
        }
        let status = try syscall("waitpid", program) { ck_wait(process) }
        try end.get()
        return (status, String(decoding: errors, as: UTF8.self))
    }

    /// - Parameter errors: closed here as soon as the program has it, so that its end can be read.
    private static func spawn(
        _ program: String, _ arguments: [String], errors: consuming File
    ) throws(SyscallFailure) -> CInt {
        let words = ([program] + arguments).map { strdup($0) }
        defer { words.forEach { free($0) } }
        let raw = errors.raw
        return try syscall("posix_spawnp", escaped(program.utf8)) { ck_spawn(program, words + [nil], raw) }
    }

    /// Starts this program once more, to go on by itself: in a session of its own and in `/`, with nothing of this process
    /// but the environment. It is not waited for; once this process is over it is nobody's child.
    ///
    /// - Throws: EAGAIN, ENOMEM and the like where the system starts nothing more (posix_spawn(3)).
    package static func startAgain(_ arguments: [String]) throws(SyscallFailure) {
        let words = (["unpack"] + arguments).map { strdup($0) }
        // What is to happen to this process's steps is nothing to that one.
        let environment = environment().filter { !$0.hasPrefix("UNPACK_FAULT") }.map { strdup($0) }
        defer { (words + environment).forEach { free($0) } }
        // Its own file, whatever has become of its name.
        try syscall("posix_spawn", "/proc/self/exe") {
            ck_spawn_detached("/proc/self/exe", words + [nil], environment + [nil])
        }
    }

    /// Becomes another program (execvp(3)), with the standard streams, and all else as this one was started.
    ///
    /// - Throws: ENOENT, EACCES and the like; otherwise it does not return.
    package static func become(_ program: String, _ arguments: [String]) throws(SyscallFailure) {
        let words = ([program] + arguments).map { strdup($0) }
        defer { words.forEach { free($0) } }
        ck_hand_back()
        execvp(program, words + [nil])
        throw SyscallFailure("execvp", path: escaped(program.utf8), code: errno)
    }

    /// Whether this is the first process of its PID namespace, with which all others end (pid_namespaces(7)).
    package static var isFirst: Bool { getpid() == 1 }
}
