internal import Archive
internal import Kernel

/// Sets owners, extended attributes, modes and times, in the order that the kernel's side effects ask for:
/// chown clears setuid and capabilities (chown(2), capabilities(7)), writing and linking change times.
struct MetadataWriter {
    private let privileges = Privileges.current
    private let makesFilesOfRoot = Process.makesFilesOfRoot
    /// Whether a time with nanoseconds was read back as it was set: then the file system keeps all of them.
    private var keepsNanoseconds = false
    private(set) var warnings = [LayerWarning.Kind: LayerWarning]()

    mutating func warn(_ kind: LayerWarning.Kind, entry: EntryPath, _ detail: String) {
        let first = { LayerWarning(kind: kind, entry: entry.description, detail: detail, count: 0) }
        warnings[kind, default: first()].count += 1
    }

    /// A regular file just created by root with the plain bits of its mode.
    mutating func finishFile(_ file: borrowing File, _ metadata: Metadata, entry: EntryPath) throws {
        try setOwner(
            metadata, entry: entry, set: { try file.setOwner(uid: $0, gid: $1) },
            keep: { try file.setExtendedAttribute($0, $1) })
        for attribute in allowed(metadata.extendedAttributes, entry: entry) {
            try apply(attribute, entry: entry) { try file.setExtendedAttribute($0, $1) }
        }
        if Self.mustSetMode(metadata) { try file.setMode(metadata.mode) }
        try setTimes(
            metadata, entry: entry, set: { try file.setTimes(access: $0, modification: $1) },
            read: { try file.status() })
    }

    /// A directory that is complete. What attributes it had are replaced.
    ///
    /// - Throws: `LayerFailure` with the directory's path: its entry has passed long ago.
    mutating func finishDirectory(
        _ directory: Directory, _ metadata: Metadata, _ opacity: WhiteoutForm.Opacity?, _ marks: OverlayMarks,
        entry: EntryPath
    ) throws {
        do {
            try complete(directory, metadata, opacity, marks, entry: entry)
        } catch let failure as SyscallFailure {
            throw LayerFailure(.system(failure), entry: entry.description)
        }
    }

    private mutating func complete(
        _ directory: Directory, _ metadata: Metadata, _ opacity: WhiteoutForm.Opacity?, _ marks: OverlayMarks,
        entry: EntryPath
    ) throws {
        try directory.file.removeFileAttributes(keepsMarks: false)
        try setOwner(
            metadata, entry: entry, isNew: false, set: { try directory.file.setOwner(uid: $0, gid: $1) },
            keep: { try directory.file.setExtendedAttribute($0, $1) })
        for attribute in allowed(metadata.extendedAttributes, entry: entry) {
            try apply(attribute, entry: entry) { try directory.file.setExtendedAttribute($0, $1) }
        }
        if let opacity { try directory.mark(opacity, marks) }
        try directory.file.setMode(metadata.mode)
        try setTimes(
            metadata, entry: entry, set: { try directory.file.setTimes(access: $0, modification: $1) },
            read: { try directory.file.status() })
    }

    /// A symlink, FIFO or device just created by root with its mode.
    mutating func finishSpecial(
        _ name: FileName, in directory: Directory, _ metadata: Metadata, isSymlink: Bool, entry: EntryPath
    ) throws {
        try setOwner(
            metadata, entry: entry, takesUserAttributes: false,
            set: { try directory.setOwner(of: name, uid: $0, gid: $1) },
            keep: { try directory.setExtendedAttribute($0, $1, of: name) })
        for attribute in allowed(metadata.extendedAttributes, entry: entry) {
            try apply(attribute, entry: entry, takesUserAttributes: false) {
                try directory.setExtendedAttribute($0, $1, of: name)
            }
        }
        if !isSymlink, Self.mustSetMode(metadata) { try directory.setMode(of: name, metadata.mode) }
        try setTimes(of: name, in: directory, metadata, entry: entry)
    }

    /// A hard link: its entry's owner, mode and times go to the file that it shares, but nothing is lost by
    /// it.
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
                keep: { try directory.setExtendedAttribute($0, $1, of: name) })
        }
        for attribute in allowed(metadata.extendedAttributes, entry: entry) {
            try apply(attribute, entry: entry, takesUserAttributes: status.kind == .regular) {
                try directory.setExtendedAttribute($0, $1, of: name)
            }
        }
        if !isSymlink, status.mode != metadata.mode || Self.mustSetMode(metadata) {
            try directory.setMode(of: name, metadata.mode)
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

    /// Sets both times, and reads back those that not every file system keeps: the kernel rounds and clamps them without an error
    /// (`timestamp_truncate`). ext4 with inodes of 128 bytes has whole seconds until 2038, XFS without bigtime ends in 2038.
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

    /// Gives a file to its owner. Where that cannot be, who it is is written down beside the file, or lost.
    ///
    /// - Parameters:
    ///   - isNew: whether it has the owner and group with which this process makes files.
    ///   - takesUserAttributes: whether it is a file or a directory, which alone can have `user.*` (xattr(7)).
    private mutating func setOwner(
        _ metadata: Metadata, entry: EntryPath, isNew: Bool = true, takesUserAttributes: Bool = true,
        set: (UInt32, UInt32) throws -> Void, keep: (AttributeName, [UInt8]) throws -> Void
    ) throws {
        let owner = FileOwner(uid: metadata.uid, gid: metadata.gid)
        if privileges.canOwn(uid: owner.uid, gid: owner.gid) {
            let hasOwner = isNew && makesFilesOfRoot && owner.uid == 0 && owner.gid == 0
            if !hasOwner { try set(owner.uid, owner.gid) }
            return
        }
        do {
            if takesUserAttributes { return try keep(FileOwner.attribute, owner.encoded) }
        } catch let failure as SyscallFailure where failure.isUnsupported {
            // Then it is lost here too.
        }
        warn(.lostOwner, entry: entry, "\(owner.uid):\(owner.gid)")
    }

    /// Whether a file that was made with the plain bits of its mode has others by now: chown has cleared setuid,
    /// or an access control list has set the group's bits to its mask.
    private static func mustSetMode(_ metadata: Metadata) -> Bool {
        metadata.mode > 0o777 || !metadata.extendedAttributes.isEmpty
    }

    static let capability = AttributeName(literal: "security.capability")

    /// What an image may set: nothing that belongs to the host or steers overlay.
    mutating func allowed(_ attributes: [ExtendedAttribute], entry: EntryPath) -> [ExtendedAttribute] {
        if attributes.isEmpty { return [] }
        return attributes.compactMap { attribute in
            if attribute.name.isOverlays {
                warn(.overlayControl, entry: entry, "extended attribute \(attribute.name)")
                return nil
            }
            // Where it means something, only this program says it.
            if attribute.name == FileOwner.attribute, !privileges.isInitialNamespace {
                warn(.ownerAttribute, entry: entry, attribute.name.description)
                return nil
            }
            if attribute.name.namespace == .trusted {
                warn(.trustedAttribute, entry: entry, attribute.name.description)
                return nil
            }
            guard attribute.name.isFiles(attribute.value) else {
                // A label of the image's own policy, or what another kernel calculated for its inode, means nothing here.
                if attribute.name.namespace != .security {
                    warn(.unsupportedAttribute, entry: entry, attribute.name.description)
                }
                return nil
            }
            return attribute.asKept
        }
    }

    private mutating func apply(
        _ attribute: ExtendedAttribute, entry: EntryPath, takesUserAttributes: Bool = true,
        _ set: (AttributeName, [UInt8]) throws -> Void
    ) throws {
        do {
            if attribute.isEmptyCapability {
                throw LayerFailure(
                    refusing: entry, "\(attribute.name) is empty, which the kernel sets and cannot read again"
                )
            }
            try set(attribute.name, attribute.value)
        } catch let failure as SyscallFailure
            where failure.isUnsupported || (failure.isPermission && !takesUserAttributes && attribute.isUser)
            || isUnmapped(attribute, failure)
        {
            warn(.unsupportedAttribute, entry: entry, attribute.name.description)
        }
    }

    /// Whether an access control list is refused because it names ids that the user namespace does not have.
    private func isUnmapped(_ attribute: ExtendedAttribute, _ failure: SyscallFailure) -> Bool {
        !privileges.isInitialNamespace && failure.isInvalid
            && attribute.name.hasPrefix("system.posix_acl_")
    }
}

extension ExtendedAttribute {
    /// `user.*`, which only files and directories have: the kernel refuses it elsewhere with EPERM (xattr(7)).
    var isUser: Bool { name.hasPrefix("user.") }

    var isEmptyCapability: Bool { name == MetadataWriter.capability && value.isEmpty }

    /// The attribute as the kernel gives it back; nil for one that it takes for a removal.
    ///
    /// A capability that names the root of this user namespace comes back without it, in revision 2 (kernel:
    /// `cap_inode_getsecurity`). An ACL without entries is none (`posix_acl_from_xattr`).
    fileprivate var asKept: ExtendedAttribute? {
        let isList = name == .accessControl || name == .defaultAccessControl
        if isList, value.isEmpty || value == [2, 0, 0, 0] { return nil }
        // VFS_CAP_REVISION_3 with the root ID 0 (linux/capability.h).
        if name == MetadataWriter.capability, value.count == 24, value[3] == 3, value[20...] == [0, 0, 0, 0] {
            return ExtendedAttribute(name: name, value: value[..<3] + [2] + value[4..<20])
        }
        return self
    }
}
