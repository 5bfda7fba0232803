internal import CKernel
internal import Glibc

/// A file that is written from its beginning to its end, perhaps a pipe, by whoever holds this.
package final class OutputFile: Sendable {
    private let file: File

    package init(_ file: consuming File) { self.file = file }

    /// Another descriptor of the process's standard output.
    package static func standardOutput() throws(SyscallFailure) -> OutputFile {
        OutputFile(File(adopting: try syscall("fcntl", "standard output") { ck_duplicate(STDOUT_FILENO) }))
    }

    /// Waits until all of it is taken.
    package func write(_ bytes: RawSpan) throws(SyscallFailure) { try file.write(bytes) }
}
