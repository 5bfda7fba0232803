internal import CKernel
internal import Glibc
package import SystemPackage

/// A mounted file system that is attached to no mount point: no path leads into it, and no other process sees it
/// (fsmount(2), kernel ≥ 5.2).
///
/// This object and every file opened below `root` keep it mounted. After this object and the last of these descriptors
/// are closed, the kernel unmounts the file system, writes its data and frees the device. The end of the process, even
/// by SIGKILL, has the same effect.
package final class DetachedMount: Sendable {
    /// Root directory of the file system.
    package let root: Directory
    /// Closing it detaches the mount (fsmount(2)).
    private let mount: MountObject
    /// Whether its source is a block device.
    package let usesDevice: Bool

    /// - Parameters:
    ///   - type: e.g. `ext4`.
    ///   - source: a block device, or a file if the type permits one.
    ///   - readOnly: makes the mount and, except on btrfs, the file system read-only, so that it writes nothing by
    ///     itself. A btrfs may be mounted writable elsewhere, and all mounts of a device are one file system.
    ///   - options: options of the file system with their values; nil for a flag.
    /// - Throws: EINVAL for an unknown option or a device without such a file system, ENODEV if the kernel does not
    ///   know the type, EPERM without CAP_SYS_ADMIN.
    package init(
        type: String, source: FilePath, readOnly: Bool, options: [(String, String?)]
    ) throws(SyscallFailure) {
        let context = try MountCalls.Context(type: type)
        try context.set("source", source)
        if readOnly, type != "btrfs" { try context.set("ro", nil) }
        for (key, value) in options { try context.set(key, value.map { FilePath($0) }) }
        let mount = try context.create(readOnly: readOnly)
        // fsmount(2) returns an O_PATH descriptor, which can neither be listed nor synced.
        let raw = mount.file.raw
        let opened = try syscall("openat", escaped(source)) {
            ck_openat(raw, ".", O_RDONLY | O_DIRECTORY, 0)
        }
        self.mount = mount
        usesDevice = (try? File.status(of: source))?.isBlockDevice ?? false
        root = Directory(adopting: File(adopting: opened))
    }

    /// Attaches the mount to a directory.
    package func attach(to target: FilePath) throws(SyscallFailure) {
        try mount.attach(to: target)
    }

    /// Makes the file system durable, including the backing file of a loop device as far as the kernel controls it
    /// (syncfs(2)).
    package func sync() throws(SyscallFailure) { try root.file.syncFileSystem() }
}
