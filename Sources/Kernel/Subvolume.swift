internal import CKernel
internal import Glibc
internal import SystemPackage

/// Subvolumes of btrfs: trees of their own inside a file system, which are copied and removed as a whole
/// (btrfs-subvolume(8), btrfs-ioctl(2)). All calls need CAP_SYS_ADMIN or throw EPERM, and throw ENOTTY where the
/// file system is another.
extension Directory {
    /// Whether it lies on btrfs (statfs(2), BTRFS_SUPER_MAGIC).
    package var isBtrfs: Bool {
        get throws(SyscallFailure) { try syscall("fstatfs") { ck_is_btrfs(file.raw) } == 1 }
    }

    /// Makes an empty subvolume, of root and mode 0755, without the properties that the kernel takes from the subvolume around it
    /// (kernel: `btrfs_subvol_inherit_props`).
    ///
    /// - Throws: EEXIST where the name is taken.
    package func makeSubvolume(_ name: FileName) throws(SyscallFailure) {
        try syscall("ioctl", "\(name): BTRFS_IOC_SUBVOL_CREATE_V2") {
            name.withCString { ck_subvolume_create(file.raw, $0) }
        }
        let subvolume = try open(name)
        if !Process.makesFilesOfRoot { try subvolume.file.setOwner(uid: 0, gid: 0) }
        try subvolume.file.setMode(0o755)
        try subvolume.file.clearInheritedSettings()
    }

    /// Makes a subvolume that has all that another one has at this moment, and shares its blocks. Subvolumes in it
    /// are not copied: an empty directory is where each was.
    ///
    /// - Parameter source: a subvolume's own root, of the same file system.
    /// - Throws: EEXIST where the name is taken, EINVAL for another directory, EXDEV for another file system.
    package func snapshotSubvolume(
        _ source: Directory, as name: FileName, readOnly: Bool
    ) throws(SyscallFailure) {
        try syscall("ioctl", "\(name): BTRFS_IOC_SNAP_CREATE_V2") {
            name.withCString { ck_subvolume_snapshot(file.raw, source.file.raw, $0, readOnly ? 1 : 0) }
        }
    }

    /// Removes a subvolume, read-only or not, and those that somebody has made in it. The kernel frees what it had
    /// later, in the background. What is gone already is no error.
    ///
    /// - Throws: ENOTTY or EINVAL for a directory that is no subvolume.
    package func removeSubvolume(_ name: FileName) throws(SyscallFailure) {
        do throws(SyscallFailure) {
            let subvolume = try open(name)
            try subvolume.setSubvolumeReadOnly(false)
            if try destroySubvolume(name) { return }
            // By itself: what is moved up while it is emptied must not appear beside it.
            try subvolume.removeContents()
            _ = try destroySubvolume(name)
        } catch {
            if !error.isMissing { throw error }
        }
    }

    /// - Returns: false if other subvolumes lie in it.
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

    /// Seals a subvolume, of which this is the root, or opens it for writing again. Mounts of it follow at once.
    ///
    /// - Throws: EINVAL where this is not a subvolume's root.
    package func setSubvolumeReadOnly(_ readOnly: Bool) throws(SyscallFailure) {
        try syscall("ioctl", "BTRFS_IOC_SUBVOL_SETFLAGS") {
            ck_subvolume_set_read_only(file.raw, readOnly ? 1 : 0)
        }
    }

    /// The number by which the subvolume that this directory belongs to can be mounted, as `subvolid=`.
    package func subvolumeID() throws(SyscallFailure) -> UInt64 {
        UInt64(try syscall("ioctl", "BTRFS_IOC_INO_LOOKUP") { ck_subvolume_id(file.raw) })
    }

    /// Whether this is the root of a subvolume: only those have the number 256 (btrfs-subvolume(8)).
    func isSubvolume() throws(SyscallFailure) -> Bool {
        guard try file.status().identity.inode == 256 else { return false }
        return try isBtrfs
    }
}
