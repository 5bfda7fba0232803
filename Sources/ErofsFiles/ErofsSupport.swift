internal import Erofs
package import Kernel
package import SystemPackage

/// How this kernel mounts EROFS images with blocks of 512 bytes in a directory.
package enum ErofsSupport: Sendable {
    /// From the file (Linux 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE, on most file systems).
    case file
    /// Through a loop device (Linux 6.4).
    case loopDevice

    /// Finds out by mounting an empty image, which is attached to no mount point.
    ///
    /// - Parameter path: of the directory.
    /// - Throws: `SyscallFailure`: EINVAL before Linux 6.4 (6.1.115), ENODEV without EROFS, EPERM in a user namespace.
    package init(probing directory: Directory, at path: FilePath) throws {
        let name = FileName(literal: ".probe-\(UInt32.random(in: .min ... .max))")
        defer { try? directory.removeFile(name) }
        let file = try directory.openOrCreateFile(name, mode: 0o600)
        var writer = try ErofsWriter(.tarBacked, image: FileStore(file))
        let root = InodeMetadata(mode: 0o755, uid: 0, gid: 0, seconds: 0, nanoseconds: 0)
        try writer.describe(ErofsWriter.root, root)
        _ = try writer.finish()
        let mount = try DetachedMount.erofs(path.appending(name.description))
        self = mount.usesDevice ? .loopDevice : .file
    }
}
