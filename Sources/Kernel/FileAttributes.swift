/// Which extended attributes are a file's own. Everything that copies, removes, compares, records or verifies attributes asks
/// here.
///
/// A file's own are `user.*`, `trusted.*`, `security.*` and the two access control lists, with the exceptions below. All other
/// names (`btrfs.*`, `bcachefs_effective.*`, `lustre.*`, `system.nfs4_acl`) are settings or views of one file system: another one
/// refuses them, and to set or remove one may do something else.
extension AttributeName {
    /// `system.posix_acl_access` (acl(5)).
    package static let accessControl = AttributeName(literal: "system.posix_acl_access")
    /// `system.posix_acl_default`, of a directory: what its new entries get (acl(5)).
    package static let defaultAccessControl = AttributeName(literal: "system.posix_acl_default")

    /// Overlay's own marks: they belong to a layer's directory, and not to the files that it shows.
    package var isOverlays: Bool { hasPrefix("trusted.overlay.") || hasPrefix("user.overlay.") }

    /// Whether the attribute is a file's own and not the kernel's.
    ///
    /// - Parameter value: decides for IMA and EVM. What the kernel calculates for this very inode is its own; a portable signature
    ///   is the file's (kernel: `enum evm_ima_xattr_type` of security/integrity/integrity.h).
    package func isFiles(_ value: some Collection<UInt8>) -> Bool {
        switch namespace {
        case .user: true
        // XFS lists the lists that it keeps under these names as well (kernel: fs/xfs/libxfs/xfs_da_format.h).
        case .trusted: !hasPrefix("trusted.SGI_ACL_")
        case .security:
            if self == Self.integrity {
                [0x03, 0x06].contains(value.first)  // EVM_IMA_XATTR_DIGSIG, IMA_VERITY_DIGSIG
            } else if self == Self.metadataIntegrity {
                value.first == 0x05  // EVM_XATTR_PORTABLE_DIGSIG
            } else {
                // Labels of the host's policy.
                self != Self.selinux && !hasPrefix("security.SMACK64")
            }
        case .system: self == Self.accessControl || self == Self.defaultAccessControl
        case nil: false
        }
    }

    private static let selinux = AttributeName(literal: "security.selinux")
    private static let integrity = AttributeName(literal: "security.ima")
    private static let metadataIntegrity = AttributeName(literal: "security.evm")

    /// The namespaces that every file system of Linux knows (xattr(7)); nil for another one.
    package enum Namespace: Sendable { case user, trusted, security, system }

    package var namespace: Namespace? {
        if hasPrefix("user.") { return .user }
        if hasPrefix("trusted.") { return .trusted }
        if hasPrefix("security.") { return .security }
        return hasPrefix("system.") ? .system : nil
    }
}

extension File {
    /// The extended attributes that are the file's own, overlay's marks among them.
    package func fileAttributes() throws(SyscallFailure) -> [(name: AttributeName, value: [UInt8])] {
        try own(try extendedAttributeNames()) { name throws(SyscallFailure) in try extendedAttribute(name) }
    }

    /// Removes the extended attributes that are the file's own.
    ///
    /// - Parameter keepsMarks: whether overlay's marks stay.
    package func removeFileAttributes(keepsMarks: Bool = true) throws(SyscallFailure) {
        for (name, _) in try fileAttributes() where !(keepsMarks && name.isOverlays) {
            try removeExtendedAttribute(name)
        }
    }
}

extension Directory {
    /// As `File.fileAttributes`, of a name in this directory.
    package func fileAttributes(
        of name: FileName
    ) throws(SyscallFailure) -> [(name: AttributeName, value: [UInt8])] {
        try own(try extendedAttributeNames(of: name)) { attribute throws(SyscallFailure) in
            try extendedAttribute(attribute, of: name)
        }
    }
}

private func own(
    _ names: [AttributeName], _ value: (AttributeName) throws(SyscallFailure) -> [UInt8]?
) throws(SyscallFailure) -> [(name: AttributeName, value: [UInt8])] {
    var attributes = [(name: AttributeName, value: [UInt8])]()
    for name in names {
        if let value = try value(name), name.isFiles(value) { attributes.append((name, value)) }
    }
    return attributes
}
