internal import Archive
internal import Kernel

/// Sets owners, extended attributes, modes and times, in this order because of the kernel's side effects: chown clears
/// setuid and capabilities (chown(2), capabilities(7)), and writing and linking change times.
struct MetadataWriter {
    private let privileges = Privileges.current
    private let ownsNewFilesAsRoot = Process.ownsNewFilesAsRoot
    /// Whether a time with nanoseconds was read back unchanged: then the file system stores all of them.
    private var keepsNanoseconds = false
    private(set) var warnings = [LayerWarning.Kind: LayerWarning]()

    mutating func warn(_ kind: LayerWarning.Kind, entry: EntryPath, _ detail: String) {
        let first = { LayerWarning(kind: kind, entry: entry.description, detail: detail, count: 0) }
        warnings[kind, default: first()].count += 1
    }

    /// Sets the metadata of a regular file that was created with the permission bits of its mode.
    mutating func finishFile(_ file: borrowing File, _ metadata: Metadata, entry: EntryPath) throws {
        try setOwner(
            metadata, entry: entry, set: { try file.setOwner(uid: $0, gid: $1) },
            record: { try file.setExtendedAttribute($0, $1) })
        for attribute in allowed(metadata.extendedAttributes, entry: entry) {
            try apply(attribute, entry: entry) { try file.setExtendedAttribute($0, $1) }
        }
        if Self.mustSetMode(metadata) { try file.setExactMode(metadata.mode) }
        try setTimes(
            metadata, entry: entry, set: { try file.setTimes(access: $0, modification: $1) },
            read: { try file.status() })
    }

    /// Sets the metadata of a directory whose entries are complete, in place of all attributes that it has.
    ///
    /// - Throws: `LayerFailure` with the directory's path, because this is not done at the directory's entry.
    mutating func finishDirectory(
        _ directory: Directory, _ metadata: Metadata, _ opacity: WhiteoutForm.Opacity?, _ marks: OverlayMarks,
        entry: EntryPath
    ) throws {
        do {
            try setMetadata(of: directory, metadata, opacity, marks, entry: entry)
        } catch let failure as SyscallFailure {
            throw LayerFailure(.system(failure), entry: entry.description)
        } catch let mismatch as FileMismatch {
            throw LayerFailure(.mismatch(mismatch), entry: entry.description)
        }
    }

    private mutating func setMetadata(
        of directory: Directory, _ metadata: Metadata, _ opacity: WhiteoutForm.Opacity?,
        _ marks: OverlayMarks,
        entry: EntryPath
    ) throws {
        try directory.file.removeFileAttributes(keepingOverlayMarks: false)
        try setOwner(
            metadata, entry: entry, isNew: false, set: { try directory.file.setOwner(uid: $0, gid: $1) },
            record: { try directory.file.setExtendedAttribute($0, $1) })
        for attribute in allowed(metadata.extendedAttributes, entry: entry) {
            try apply(attribute, entry: entry) { try directory.file.setExtendedAttribute($0, $1) }
        }
        if let opacity { try directory.setOpacity(opacity, marks) }
        try directory.file.setExactMode(metadata.mode)
        try setTimes(
            metadata, entry: entry, set: { try directory.file.setTimes(access: $0, modification: $1) },
            read: { try directory.file.status() })
    }

    /// Sets the metadata of a symlink, FIFO or device that was created with the permission bits of its mode.
    mutating func finishSpecial(
        _ name: FileName, in directory: Directory, _ metadata: Metadata, isSymlink: Bool, entry: EntryPath
    ) throws {
        try setOwner(
            metadata, entry: entry, takesUserAttributes: false,
            set: { try directory.setOwner(of: name, uid: $0, gid: $1) },
            record: { try directory.setExtendedAttribute($0, $1, of: name) })
        for attribute in allowed(metadata.extendedAttributes, entry: entry) {
            try apply(attribute, entry: entry, takesUserAttributes: false) {
                try directory.setExtendedAttribute($0, $1, of: name)
            }
        }
        if !isSymlink, Self.mustSetMode(metadata) { try directory.setExactMode(of: name, metadata.mode) }
        try setTimes(of: name, in: directory, metadata, entry: entry)
    }

    /// Sets the owner, mode and times of a hard link's entry on the shared file. No attribute or capability is lost.
    mutating func finishLink(
        _ name: FileName, in directory: Directory, _ metadata: Metadata, entry: EntryPath
    )
        throws
    {
        guard let status = try directory.status(of: name) else { return }
        let isSymlink = status.kind == .symlink
        if status.uid != metadata.uid || status.gid != metadata.gid {
            try setOwner(
                metadata, entry: entry, isNew: false, takesUserAttributes: status.kind == .regular,
                set: { uid, gid in
                    let capability = try directory.extendedAttribute(Self.capability, of: name)
                    try directory.setOwner(of: name, uid: uid, gid: gid)
                    if let capability {
                        try directory.setExtendedAttribute(Self.capability, capability, of: name)
                    }
                },
                record: { try directory.setExtendedAttribute($0, $1, of: name) })
        }
        for attribute in allowed(metadata.extendedAttributes, entry: entry) {
            try apply(attribute, entry: entry, takesUserAttributes: status.kind == .regular) {
                try directory.setExtendedAttribute($0, $1, of: name)
            }
        }
        if !isSymlink, status.mode != metadata.mode || Self.mustSetMode(metadata) {
            try directory.setExactMode(of: name, metadata.mode)
        }
        if status.modificationTime != metadata.modificationTime || status.accessTime != metadata.accessTime {
            try setTimes(of: name, in: directory, metadata, entry: entry)
        }
    }

    private mutating func setTimes(
        of name: FileName, in directory: Directory, _ metadata: Metadata, entry: EntryPath
    ) throws {
        try setTimes(
            metadata, entry: entry, set: { try directory.setTimes(of: name, access: $0, modification: $1) },
            read: { try directory.status(of: name) })
    }

    /// Sets both times, and reads back modification times that not every file system can store: the kernel rounds and
    /// clamps them without an error (`timestamp_truncate`). ext4 with 128-byte inodes has whole seconds until 2038,
    /// and XFS without bigtime ends in 2038.
    private mutating func setTimes(
        _ metadata: Metadata, entry: EntryPath, set: (Timestamp, Timestamp) throws -> Void,
        read: () throws -> FileStatus?
    ) throws {
        try set(metadata.accessTime, metadata.modificationTime)
        let time = metadata.modificationTime
        let isPlain =
            (time.nanoseconds == 0 || keepsNanoseconds) && (0...Int64(Int32.max)).contains(time.seconds)
        guard !isPlain, let found = try read()?.modificationTime else { return }
        if found != time {
            warn(.alteredTime, entry: entry, "\(time), which became \(found)")
        } else if time.nanoseconds != 0 {
            keepsNanoseconds = true
        }
    }

    /// Sets the owner of a file. An owner without an ID in this user namespace is recorded in `FileOwner.attribute`,
    /// or lost with a warning if the file cannot have the attribute.
    ///
    /// - Parameters:
    ///   - isNew: whether the file has the owner and group of new files of this process.
    ///   - takesUserAttributes: whether it is a regular file or a directory: others cannot have `user.*` (xattr(7)).
    ///   - record: sets an extended attribute.
    private mutating func setOwner(
        _ metadata: Metadata, entry: EntryPath, isNew: Bool = true, takesUserAttributes: Bool = true,
        set: (UInt32, UInt32) throws -> Void, record: (AttributeName, [UInt8]) throws -> Void
    ) throws {
        let owner = FileOwner(uid: metadata.uid, gid: metadata.gid)
        if privileges.canOwn(uid: owner.uid, gid: owner.gid) {
            let hasOwner = isNew && ownsNewFilesAsRoot && owner.uid == 0 && owner.gid == 0
            if !hasOwner { try set(owner.uid, owner.gid) }
            return
        }
        do {
            if takesUserAttributes { return try record(FileOwner.attribute, owner.encoded) }
        } catch let failure as SyscallFailure where failure.isUnsupported {
            // The file system has no user attributes: the owner is lost as well.
        }
        warn(.lostOwner, entry: entry, "\(owner.uid):\(owner.gid)")
    }

    /// Whether a file that was created with the permission bits of its mode may have another mode: setuid, setgid and
    /// sticky are still missing, or an access control list has set the group's bits to its mask.
    private static func mustSetMode(_ metadata: Metadata) -> Bool {
        metadata.mode > 0o777 || !metadata.extendedAttributes.isEmpty
    }

    static let capability = AttributeName(literal: "security.capability")

    /// Returns the attributes that an image may set: none that belongs to the host or controls overlayfs.
    mutating func allowed(_ attributes: [ExtendedAttribute], entry: EntryPath) -> [ExtendedAttribute] {
        if attributes.isEmpty { return [] }
        return attributes.compactMap { attribute in
            if attribute.name.isOverlayMark {
                warn(.overlayControl, entry: entry, "extended attribute \(attribute.name)")
                return nil
            }
            // In a user namespace this program records owners in it, and an image must not forge them.
            if attribute.name == FileOwner.attribute, !privileges.isInitialNamespace {
                warn(.ownerAttribute, entry: entry, attribute.name.description)
                return nil
            }
            if attribute.name.namespace == .trusted {
                warn(.trustedAttribute, entry: entry, attribute.name.description)
                return nil
            }
            guard attribute.name.belongsToFile(attribute.value) else {
                // SELinux labels of another policy and values that another kernel calculated are dropped without a
                // warning.
                if attribute.name.namespace != .security {
                    warn(.unsupportedAttribute, entry: entry, attribute.name.description)
                }
                return nil
            }
            return attribute.asStored
        }
    }

    private mutating func apply(
        _ attribute: ExtendedAttribute, entry: EntryPath, takesUserAttributes: Bool = true,
        _ set: (AttributeName, [UInt8]) throws -> Void
    ) throws {
        do {
            if attribute.isInvalidCapability {
                throw LayerFailure(
                    refusing: entry, "\(attribute.name) is no capability that the kernel reads")
            }
            try set(attribute.name, attribute.value)
        } catch let failure as SyscallFailure
            where failure.isUnsupported
            || (failure.isPermission && !takesUserAttributes && attribute.isUserAttribute)
            || isUnmapped(attribute, failure)
        {
            warn(.unsupportedAttribute, entry: entry, attribute.name.description)
        }
    }

    /// Whether the kernel refused an access control list because it has IDs that the user namespace does not have.
    private func isUnmapped(_ attribute: ExtendedAttribute, _ failure: SyscallFailure) -> Bool {
        !privileges.isInitialNamespace && failure.isInvalid
            && attribute.name.hasPrefix("system.posix_acl_")
    }
}

extension ExtendedAttribute {
    /// Whether the name is `user.*`. The kernel refuses these with EPERM except on files and directories (xattr(7)).
    var isUserAttribute: Bool { name.hasPrefix("user.") }

    /// Whether it is a capability that the kernel refuses, or an empty one, which it sets and cannot read again. Valid
    /// are revision 2 with 20 bytes and revision 3 with 24 (kernel: `cap_convert_nscap`).
    var isInvalidCapability: Bool {
        guard name == MetadataWriter.capability else { return false }
        guard value.count == 20 || value.count == 24 else { return true }
        // The lowest bit of the first byte is the flag "effective".
        let revision: UInt8 = value.count == 20 ? 2 : 3
        return value[0] & ~1 != 0 || value[1] != 0 || value[2] != 0 || value[3] != revision
    }

    /// The attribute as the kernel returns it after it was set; nil if setting it removes the attribute.
    ///
    /// A capability with the root ID of this user namespace is returned in revision 2, without the ID (kernel:
    /// `cap_inode_getsecurity`). An ACL without entries removes the ACL (`posix_acl_from_xattr`).
    fileprivate var asStored: ExtendedAttribute? {
        let isList = name == .accessControl || name == .defaultAccessControl
        if isList, value.isEmpty || value == [2, 0, 0, 0] { return nil }
        // VFS_CAP_REVISION_3 with the root ID 0 (linux/capability.h).
        if name == MetadataWriter.capability, value.count == 24, value[3] == 3, value[20...] == [0, 0, 0, 0] {
            return ExtendedAttribute(name: name, value: value[..<3] + [2] + value[4..<20])
        }
        return self
    }
}
