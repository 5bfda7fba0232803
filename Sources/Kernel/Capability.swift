internal import SystemPackage

/// A capability that writing a tree may need; the raw value is its number (capabilities(7)).
package enum Capability: UInt64, CaseIterable, Sendable, CustomStringConvertible {
    case chown = 0
    case dacOverride = 1
    case fowner = 3
    /// Without CAP_FSETID, chmod(2) reports success but drops the set-group-ID bit of a file whose group is not one of
    /// the process.
    case fsetid = 4
    case sysAdmin = 21
    case mknod = 27
    case setfcap = 31

    package var description: String {
        switch self {
        case .chown: "CAP_CHOWN"
        case .dacOverride: "CAP_DAC_OVERRIDE"
        case .fowner: "CAP_FOWNER"
        case .fsetid: "CAP_FSETID"
        case .sysAdmin: "CAP_SYS_ADMIN"
        case .mknod: "CAP_MKNOD"
        case .setfcap: "CAP_SETFCAP"
        }
    }
}

extension SyscallFailure {
    /// The capability that root lacks for the call; nil if the failure has another cause, or if the process does not
    /// run as root.
    package var missingCapability: Capability? {
        guard isPermission, Process.effectiveUserID == 0 else { return nil }
        return capabilities.first { !Privileges.current.has($0) }
    }

    /// The capabilities that the call may need, the most likely first.
    private var capabilities: [Capability] {
        switch call {
        case "fchown", "fchownat": [.chown]
        case "fchmod", "chmod": [.fowner, .fsetid]
        case "mknodat": errno == .notPermitted ? [.mknod] : [.dacOverride]
        case "futimens", "utimensat": [.fowner, .dacOverride]
        case _ where call.hasSuffix("xattr"):
            if path.hasSuffix("security.capability") {
                [.setfcap]
            } else if path.contains("trusted.") || path.contains("security.") {
                [.sysAdmin]
            } else {
                errno == .notPermitted ? [.fowner] : [.dacOverride]
            }
        case "mount", "open_tree", "fsopen", "fsmount", "fsconfig", "move_mount", "mount_setattr", "umount2",
            "unshare":
            [.sysAdmin]
        case "ioctl": path.hasPrefix("FS_IOC") ? [.fowner] : [.sysAdmin]
        default: errno == .notPermitted ? [.fowner] : [.dacOverride]
        }
    }
}
