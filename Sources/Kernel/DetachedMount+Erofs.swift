internal import Glibc
package import SystemPackage

extension DetachedMount {
    /// Mounts an EROFS image read-only: the file itself, or a loop device of it if the kernel refuses that with ENOTBLK.
    /// It does so before Linux 6.12, without CONFIG_EROFS_FS_BACKED_BY_FILE, and for a file on tmpfs or on overlayfs
    /// (kernel: fs/erofs/super.c, erofs_fc_get_tree).
    ///
    /// - Throws: EINVAL for a file that is no such image, ENODEV if the kernel has no EROFS, EPERM without CAP_SYS_ADMIN.
    package static func erofs(_ image: FilePath) throws(SyscallFailure) -> DetachedMount {
        let file = try File.open(image, .read)
        // fsconfig(2) takes at most 255 bytes.
        let isLong = image.bytes.count > MountCalls.longestValue
        let source = isLong ? file.descriptorPath : image
        do throws(SyscallFailure) {
            return try DetachedMount(type: "erofs", source: source, readOnly: true, options: [])
        } catch {
            guard error.errno.rawValue == ENOTBLK else { throw error }
        }
        let device = try LoopDevice(of: file, name: image.lastComponent?.string ?? "", readOnly: true)
        return try withExtendedLifetime(device) { () throws(SyscallFailure) in
            try DetachedMount(type: "erofs", source: device.path, readOnly: true, options: [])
        }
    }

    /// A path that leads this process to the root, while this object exists.
    package var path: FilePath { root.file.descriptorPath }
}

extension File {
    /// The path of the open file in /proc (proc_pid_fd(5)).
    var descriptorPath: FilePath { FilePath("/proc/self/fd/\(raw)") }
}
