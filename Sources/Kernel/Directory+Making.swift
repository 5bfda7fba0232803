internal import CKernel
internal import Glibc
package import SystemPackage

extension Directory {
    /// Removes an empty directory, given by a path from the user.
    package static func removeEmptyDirectory(at path: FilePath) throws(SyscallFailure) {
        try syscall("rmdir", escaped(path)) {
            path.withPlatformString { ck_unlinkat(AT_FDCWD, $0, AT_REMOVEDIR) }
        }
    }

    /// Writes a file atomically: to a temporary name that is renamed to `name`, replacing an existing file.
    ///
    /// - Parameter body: writes the content. If it throws, an existing file stays as it was.
    package func writeAtomically(
        _ name: FileName, mode: UInt32, sync: Bool = false, _ body: (borrowing File) throws -> Void
    ) throws {
        let draft = FileName(literal: ".unpack-\(UInt32.random(in: .min ... .max))")
        let file = try makeFile(draft, mode: mode)
        do {
            try body(file)
            if sync { try file.sync() }
            try file.close()
            try rename(draft, to: name, in: self)
        } catch {
            try? removeFile(draft)
            throw error
        }
    }
}
