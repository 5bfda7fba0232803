internal import CKernel
internal import Glibc
internal import SystemPackage

/// Subvolumes of btrfs: trees inside a file system that are snapshotted and removed as a whole (btrfs-subvolume(8),
/// btrfs-ioctl(2)). The ioctls throw ENOTTY on another file system. Removing a subvolume throws EPERM without
/// CAP_SYS_ADMIN, unless the file system is mounted with `user_subvol_rm_allowed`.
extension Directory {
    /// Whether the directory is on btrfs (statfs(2), BTRFS_SUPER_MAGIC).
    package var isBtrfs: Bool {
        get throws(SyscallFailure) { try syscall("fstatfs") { ck_is_btrfs(file.raw) } == 1 }
    }

    /// Makes an empty subvolume, owned by root and with mode 0755, without the properties that it inherits from the
    /// surrounding subvolume (kernel: `btrfs_subvol_inherit_props`).
    ///
    /// - Throws: `SyscallFailure`, EEXIST if the name exists; `FileMismatch` as `clearInheritedSettings`.
    package func makeSubvolume(_ name: FileName) throws {
        try syscall("ioctl", "\(name): BTRFS_IOC_SUBVOL_CREATE_V2") {
            name.withCString { ck_subvolume_create(file.raw, $0) }
        }
        let subvolume = try open(name)
        if !Process.ownsNewFilesAsRoot { try subvolume.file.setOwner(uid: 0, gid: 0) }
        try subvolume.file.setMode(0o755)
        try subvolume.file.clearInheritedSettings()
    }

    /// Makes a snapshot of a subvolume, which shares its blocks. Nested subvolumes are not included; each appears as an
    /// empty directory.
    ///
    /// - Parameter source: root directory of a subvolume of the same file system.
    /// - Throws: EEXIST if the name exists, EINVAL for a directory that is not the root of a subvolume, EXDEV for
    ///   another file system.
    package func snapshotSubvolume(
        _ source: Directory, as name: FileName, readOnly: Bool
    ) throws(SyscallFailure) {
        try syscall("ioctl", "\(name): BTRFS_IOC_SNAP_CREATE_V2") {
            name.withCString { ck_subvolume_snapshot(file.raw, source.file.raw, $0, readOnly ? 1 : 0) }
        }
    }

    /// Removes a subvolume, read-only or not, and the subvolumes nested in it. The kernel frees the space later, in the
    /// background. A missing subvolume is no error.
    ///
    /// - Throws: ENOTTY or EINVAL for a directory that is not a subvolume.
    package func removeSubvolume(_ name: FileName) throws(SyscallFailure) {
        do throws(SyscallFailure) {
            let subvolume = try open(name)
            try subvolume.setSubvolumeReadOnly(false)
            if try destroySubvolume(name) { return }
            // The contents go first: subvolumes that are moved up must land in it, not next to it.
            try subvolume.removeContents()
            _ = try destroySubvolume(name)
        } catch {
            if !error.isMissing { throw error }
        }
    }

    /// - Returns: false if it contains other subvolumes.
    func destroySubvolume(_ name: FileName) throws(SyscallFailure) -> Bool {
        do throws(SyscallFailure) {
            try syscall("ioctl", "\(name): BTRFS_IOC_SNAP_DESTROY_V2") {
                name.withCString { ck_subvolume_destroy(file.raw, $0) }
            }
            return true
        } catch {
            if error.errno == .directoryNotEmpty { return false }
            throw error
        }
    }

    /// Makes the subvolume with this root read-only or writable, which takes effect at once on its mounts.
    ///
    /// - Throws: EINVAL if this is not the root of a subvolume.
    package func setSubvolumeReadOnly(_ readOnly: Bool) throws(SyscallFailure) {
        try syscall("ioctl", "BTRFS_IOC_SUBVOL_SETFLAGS") {
            ck_subvolume_set_read_only(file.raw, readOnly ? 1 : 0)
        }
    }

    /// ID of the subvolume that contains this directory, as for the mount option `subvolid=`.
    package func subvolumeID() throws(SyscallFailure) -> UInt64 {
        UInt64(try syscall("ioctl", "BTRFS_IOC_INO_LOOKUP") { ck_subvolume_id(file.raw) })
    }

    /// Whether this is the root of a subvolume: only those have inode number 256 (btrfs-subvolume(8)).
    func isSubvolume() throws(SyscallFailure) -> Bool {
        guard try file.status().identity.inode == 256 else { return false }
        return try isBtrfs
    }
}
