internal import CKernel
internal import Glibc
package import SystemPackage

/// What comes from elsewhere than a directory: standard input, and files that have no name.
extension File {
    /// Standard input, opened once more: closing this leaves the stream.
    package static func standardInput() throws(SyscallFailure) -> File {
        File(adopting: try syscall("fcntl", "standard input") { ck_duplicate(STDIN_FILENO) })
    }

    /// An empty file for reading and writing that nobody else sees, and that is gone with its descriptor (open(2), O_TMPFILE).
    package static func temporary(in folder: FilePath) throws(SyscallFailure) -> File {
        File(
            adopting: try syscall("open", escaped(folder)) { folder.withPlatformString { ck_temporary($0) } })
    }

    /// Another descriptor of the same open file: both have one position.
    package func duplicated() throws(SyscallFailure) -> File {
        File(adopting: try syscall("fcntl") { ck_duplicate(raw) })
    }

    package var isTerminal: Bool { isatty(raw) == 1 }
}

extension Process {
    /// Where files go that are large and short-lived: `$TMPDIR`, else `/var/tmp` (file-hierarchy(7)).
    package static var temporaryFolder: FilePath {
        guard let text = getenv("TMPDIR"), text.pointee != 0 else { return "/var/tmp" }
        return FilePath(platformString: text)
    }
}
