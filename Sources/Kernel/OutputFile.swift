internal import CKernel
internal import Glibc

/// A file or pipe that is written sequentially.
package final class OutputFile: Sendable {
    private let file: File
    /// Name in failures.
    private let name: String

    package init(_ file: consuming File, name: String = "") {
        self.file = file
        self.name = name
    }

    /// A duplicate of standard output; closing it leaves the stream open.
    package static func standardOutput() throws(SyscallFailure) -> OutputFile {
        let name = SyscallFailure.standardOutput
        return OutputFile(
            File(adopting: try syscall("fcntl", name) { ck_duplicate(STDOUT_FILENO) }), name: name)
    }

    /// Writes all bytes, blocking until they are written.
    package func write(_ bytes: RawSpan) throws(SyscallFailure) {
        do {
            try file.write(bytes)
        } catch {
            throw SyscallFailure(error.call, path: name, errno: error.errno)
        }
    }
}
