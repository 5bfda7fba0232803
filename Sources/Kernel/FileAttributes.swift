/// Decides which extended attributes belong to a file. All code that copies, removes, compares, records or verifies
/// attributes uses this.
///
/// These are `user.*`, `trusted.*`, `security.*` and the two ACLs, with the exceptions below. All other names
/// (`btrfs.*`, `bcachefs_effective.*`, `lustre.*`, `system.nfs4_acl`) are settings or views of one file system: another
/// file system refuses them, and setting or removing one may have other effects.
extension AttributeName {
    /// `system.posix_acl_access` (acl(5)).
    package static let accessControl = AttributeName(literal: "system.posix_acl_access")
    /// `system.posix_acl_default` of a directory: the ACL that new entries inherit (acl(5)).
    package static let defaultAccessControl = AttributeName(literal: "system.posix_acl_default")

    /// Whether this is a mark of overlayfs, which belongs to the directory of a layer and not to the files that the
    /// layer contains.
    package var isOverlayMark: Bool { hasPrefix("trusted.overlay.") || hasPrefix("user.overlay.") }

    /// Whether the attribute belongs to the file, and not to the kernel or the file system.
    ///
    /// - Parameter value: distinguishes IMA and EVM attributes. Hashes that the kernel computes for this inode belong
    ///   to the kernel, portable signatures to the file (kernel: `enum evm_ima_xattr_type` in
    ///   security/integrity/integrity.h).
    package func belongsToFile(_ value: some Collection<UInt8>) -> Bool {
        switch namespace {
        case .user: true
        // XFS also lists the ACLs that it stores under these names (kernel: fs/xfs/libxfs/xfs_da_format.h).
        case .trusted: !hasPrefix("trusted.SGI_ACL_")
        case .security:
            if self == Self.integrity {
                [0x03, 0x06].contains(value.first)  // EVM_IMA_XATTR_DIGSIG, IMA_VERITY_DIGSIG
            } else if self == Self.metadataIntegrity {
                value.first == 0x05  // EVM_XATTR_PORTABLE_DIGSIG
            } else {
                // SELinux and Smack labels follow the policy of the host.
                self != Self.selinux && !hasPrefix("security.SMACK64")
            }
        case .system: self == Self.accessControl || self == Self.defaultAccessControl
        case nil: false
        }
    }

    private static let selinux = AttributeName(literal: "security.selinux")
    private static let integrity = AttributeName(literal: "security.ima")
    private static let metadataIntegrity = AttributeName(literal: "security.evm")

    /// The namespace of an attribute, as all file systems know it (xattr(7)).
    package enum Namespace: Sendable { case user, trusted, security, system }

    /// Nil for any other prefix.
    package var namespace: Namespace? {
        if hasPrefix("user.") { return .user }
        if hasPrefix("trusted.") { return .trusted }
        if hasPrefix("security.") { return .security }
        return hasPrefix("system.") ? .system : nil
    }
}

extension File {
    /// The extended attributes that belong to the file, including the marks of overlayfs.
    package func fileAttributes() throws(SyscallFailure) -> [(name: AttributeName, value: [UInt8])] {
        try own(try extendedAttributeNames()) { name throws(SyscallFailure) in try extendedAttribute(name) }
    }

    /// Removes the extended attributes that belong to the file.
    ///
    /// - Parameter keepingOverlayMarks: whether the marks of overlayfs stay.
    package func removeFileAttributes(keepingOverlayMarks: Bool = true) throws(SyscallFailure) {
        for (name, _) in try fileAttributes() where !(keepingOverlayMarks && name.isOverlayMark) {
            try removeExtendedAttribute(name)
        }
    }
}

extension Directory {
    /// Attributes of an entry, as `File.fileAttributes`; symlinks are not followed.
    package func fileAttributes(
        of name: FileName
    ) throws(SyscallFailure) -> [(name: AttributeName, value: [UInt8])] {
        try own(try extendedAttributeNames(of: name)) { attribute throws(SyscallFailure) in
            try extendedAttribute(attribute, of: name)
        }
    }
}

/// Values of the attributes that belong to the file; those removed meanwhile are left out.
private func own(
    _ names: [AttributeName], _ value: (AttributeName) throws(SyscallFailure) -> [UInt8]?
) throws(SyscallFailure) -> [(name: AttributeName, value: [UInt8])] {
    var attributes = [(name: AttributeName, value: [UInt8])]()
    for name in names {
        if let value = try value(name), name.belongsToFile(value) { attributes.append((name, value)) }
    }
    return attributes
}
