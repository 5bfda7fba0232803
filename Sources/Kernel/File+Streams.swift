internal import CKernel
internal import Glibc
package import SystemPackage

/// Standard input, and unnamed files.
extension File {
    /// A duplicate of standard input; closing it leaves the stream open.
    package static func standardInput() throws(SyscallFailure) -> File {
        File(adopting: try syscall("fcntl", "standard input") { ck_duplicate(STDIN_FILENO) })
    }

    /// An unnamed empty file for reading and writing, which is freed when its descriptor is closed (open(2),
    /// O_TMPFILE).
    package static func temporary(in folder: FilePath) throws(SyscallFailure) -> File {
        File(
            adopting: try syscall("open", escaped(folder)) { folder.withPlatformString { ck_temporary($0) } })
    }

    /// An unnamed empty file for reading and writing in an open directory (open(2), O_TMPFILE).
    package static func temporary(in directory: Directory) throws(SyscallFailure) -> File {
        File(adopting: try syscall("openat", "O_TMPFILE") { ck_temporary_at(directory.file.raw) })
    }

    /// A duplicate of the descriptor; both share one position.
    package func duplicated() throws(SyscallFailure) -> File {
        File(adopting: try syscall("fcntl") { ck_duplicate(raw) })
    }

    package var isTerminal: Bool { isatty(raw) == 1 }
}

extension Process {
    /// Directory for large temporary files: `$TMPDIR`, else `/var/tmp` (file-hierarchy(7)).
    package static var temporaryFolder: FilePath {
        guard let text = getenv("TMPDIR"), text.pointee != 0 else { return "/var/tmp" }
        return FilePath(platformString: text)
    }
}
