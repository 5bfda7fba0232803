internal import CKernel
internal import Glibc
package import SystemPackage

/// A file system that is mounted nowhere: no path leads into it, and no other process sees it (fsmount(2),
/// kernel ≥ 5.2).
///
/// It is kept by this object and by what has been opened below `root`. When this object goes, the mount is
/// dissolved; when the last descriptor below is closed too, the kernel unmounts the file system, writes what
/// it has to and frees the device. That happens at the end of the process as well, even by SIGKILL.
package final class DetachedMount: Sendable {
    /// The root of the file system, opened like any directory.
    package let root: Directory
    /// Closing it dissolves the mount.
    private let mount: File

    /// - Parameters:
    ///   - type: e.g. `ext4`.
    ///   - source: a block device.
    ///   - readOnly: nothing can be written through this mount, and the file system does not write by itself either
    ///     (except btrfs, which may be mounted writable elsewhere: its device is one file system wherever it is
    ///     mounted).
    ///   - options: the file system's own, with their values; a flag has none.
    /// - Throws: EINVAL for an option that it does not have or a device that is no such file system, ENODEV for a
    ///   type that the kernel does not have, EPERM without CAP_SYS_ADMIN.
    package init(
        type: String, source: FilePath, readOnly: Bool, options: [(String, String?)]
    ) throws(SyscallFailure) {
        let context = try MountCalls.Context(type: type)
        try context.set("source", source)
        if readOnly, type != "btrfs" { try context.set("ro", nil) }
        for (key, value) in options { try context.set(key, value.map { FilePath($0) }) }
        let mount = try context.create(readOnly: readOnly)
        // What fsmount(2) gives is an O_PATH descriptor, which can neither be listed nor synced.
        let raw = mount.raw
        let opened = try syscall("openat", escaped(source)) {
            ck_openat(raw, ".", O_RDONLY | O_DIRECTORY, 0)
        }
        self.mount = mount
        root = Directory(adopting: File(adopting: opened))
    }

    /// Makes all that was written durable, in the file of a loop device too as far as the kernel has it
    /// (syncfs(2)).
    package func sync() throws(SyscallFailure) { try root.file.syncFileSystem() }
}
