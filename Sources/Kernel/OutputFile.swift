internal import CKernel
internal import Glibc

/// A file that is written from its beginning to its end, perhaps a pipe, by whoever holds this.
package final class OutputFile: Sendable {
    private let file: File
    /// For a failure.
    private let name: String

    package init(_ file: consuming File, name: String = "") {
        self.file = file
        self.name = name
    }

    /// Another descriptor of the process's standard output.
    package static func standardOutput() throws(SyscallFailure) -> OutputFile {
        let name = SyscallFailure.standardOutput
        return OutputFile(
            File(adopting: try syscall("fcntl", name) { ck_duplicate(STDOUT_FILENO) }), name: name)
    }

    /// Waits until all of it is taken.
    package func write(_ bytes: RawSpan) throws(SyscallFailure) {
        do {
            try file.write(bytes)
        } catch {
            throw SyscallFailure(error.call, path: name, errno: error.errno)
        }
    }
}
