internal import CKernel
internal import Glibc
package import SystemPackage

extension Directory {
    /// Removes an empty directory by a path of the user's.
    package static func removing(_ path: FilePath) throws(SyscallFailure) {
        try syscall("rmdir", escaped(path)) {
            path.withPlatformString { ck_unlinkat(AT_FDCWD, $0, AT_REMOVEDIR) }
        }
    }

    /// Writes a file that is there whole or not at all, and takes the place of one that is there.
    ///
    /// - Parameter body: writes it. What it throws leaves everything as it was.
    package func writeWhole(
        _ name: FileName, mode: UInt32, sync: Bool = false, _ body: (borrowing File) throws -> Void
    ) throws {
        let draft = FileName(literal: ".unpack-\(UInt32.random(in: .min ... .max))")
        guard let file = try createFile(draft, mode: mode) else {
            throw SyscallFailure("openat", path: "\(draft)", errno: .fileExists)
        }
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
