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
}
