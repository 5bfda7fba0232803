internal import CKernel
internal import SystemPackage

/// Settings of an inode that new entries of a directory inherit, apart from group and default ACL: flags (chattr(1),
/// ioctl_iflags(2)), extent size hints, and the quota project (ioctl_xfs_fsgetxattr(2)).
package struct InodeSettings: Equatable, Sendable {
    fileprivate var raw: ck_inode_settings

    fileprivate init(_ raw: ck_inode_settings) { self.raw = raw }

    package static func == (left: Self, right: Self) -> Bool {
        left.raw.flags == right.raw.flags && left.raw.extended_flags == right.raw.extended_flags
            && left.raw.project == right.raw.project && left.raw.extent_size == right.raw.extent_size
            && left.raw.shared_extent_size == right.raw.shared_extent_size
    }

    /// `FS_*_FL` (linux/fs.h).
    package var flags: UInt32 {
        get { raw.flags }
        set { raw.flags = newValue }
    }
    /// `FS_XFLAG_*` (linux/fs.h).
    package var extendedFlags: UInt32 {
        get { raw.extended_flags }
        set { raw.extended_flags = newValue }
    }
    /// ID of the quota project.
    package var project: UInt32 {
        get { raw.project }
        set { raw.project = newValue }
    }

    /// The flags that new entries inherit on at least one file system: EXT4_FL_INHERITED, SHMEM_FL_INHERITED, and those
    /// of `btrfs_inherit_iflags` and `xfs_inode_inherit_flags` (kernel 6.18). Append-only and immutable are never
    /// inherited.
    ///
    /// SECRM, UNRM, COMPR, SYNC, NODUMP, NOATIME, NOCOMP, JOURNAL_DATA, NOTAIL, DIRSYNC, NOCOW, DAX, PROJINHERIT,
    /// CASEFOLD.
    private static let inherited: UInt32 =
        0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x400 | 0x4000 | 0x8000 | 0x1_0000 | 0x80_0000 | 0x200_0000
        | projectInherit | 0x4000_0000
    /// REALTIME, SYNC, NOATIME, NODUMP, RTINHERIT, PROJINHERIT, NOSYMLINKS, EXTSIZE, EXTSZINHERIT, NODEFRAG,
    /// FILESTREAM, DAX, COWEXTSIZE.
    private static let inheritedExtended: UInt32 =
        0x1 | 0x20 | 0x40 | 0x80 | 0x100 | extendedProjectInherit | 0x400 | 0x800 | 0x1000 | 0x2000 | 0x4000
        | 0x8000 | 0x1_0000
    private static let projectInherit: UInt32 = 0x2000_0000
    private static let extendedProjectInherit: UInt32 = 0x200

    /// A copy without the settings that new entries inherit.
    ///
    /// - Parameter keepsProject: whether the project and its inheritance flag stay.
    package func cleared(keepsProject: Bool) -> InodeSettings {
        var cleared = ck_inode_settings()
        cleared.flags = raw.flags & ~Self.inherited
        cleared.extended_flags = raw.extended_flags & ~Self.inheritedExtended
        if keepsProject {
            cleared.project = raw.project
            cleared.flags |= raw.flags & Self.projectInherit
            cleared.extended_flags |= raw.extended_flags & Self.extendedProjectInherit
        }
        return InodeSettings(cleared)
    }

    /// The settings that were inherited from the parent, or that new entries will inherit; nil if there are none.
    package var inherited: InodeSettings? {
        var part = raw
        part.flags &= Self.inherited
        part.extended_flags &= Self.inheritedExtended
        let isPlain = part.flags == 0 && part.extended_flags == 0 && part.project == 0
        return isPlain ? nil : InodeSettings(part)
    }
}

extension File {
    /// The settings of this file or directory; all 0 if the file system does not support them.
    package func settings() throws(SyscallFailure) -> InodeSettings {
        var raw = ck_inode_settings()
        try syscall("ioctl", "FS_IOC_FSGETXATTR") { ck_inode_settings(self.raw, &raw) }
        return InodeSettings(raw)
    }

    /// - Throws: EPERM for the file of another user without CAP_FOWNER, or for the project in a user namespace;
    ///   ENOTEMPTY if a directory with entries would lose case folding.
    package func set(_ settings: InodeSettings) throws(SyscallFailure) {
        var raw = settings.raw
        try syscall("ioctl", "FS_IOC_FSSETXATTR") { ck_set_inode_settings(self.raw, &raw) }
    }

    /// Clears the settings that new entries inherit.
    ///
    /// In a user namespace the project stays: only the initial one may change it (kernel: `fileattr_set_prepare`),
    /// because the quota belongs to the administrator of the host.
    ///
    /// - Returns: the previous settings.
    /// - Throws: `SyscallFailure`; `FileMismatch` if the file system kept a setting without an error.
    @discardableResult
    package func clearInheritedSettings() throws -> InodeSettings {
        let settings = try settings()
        let cleared = settings.cleared(keepsProject: !Privileges.current.isInitialNamespace)
        if cleared == settings { return settings }
        try set(cleared)
        // A setting that stays would be inherited by every tree of the store.
        guard try self.settings().inherited == cleared.inherited else {
            throw FileMismatch.notKept(
                call: "ioctl 'FS_IOC_FSSETXATTR'", change: "inherited settings stayed", isRefusal: false)
        }
        return settings
    }
}
