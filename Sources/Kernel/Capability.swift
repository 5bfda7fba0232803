internal import SystemPackage

/// A capability that writing a tree may need; the raw value is its number (capabilities(7)).
package enum Capability: UInt64, CaseIterable, Sendable, CustomStringConvertible {
    case changeOwner = 0
    case overridePermissions = 1
    case actAsOwner = 3
    /// Without CAP_FSETID, chmod(2) reports success but drops the set-group-ID bit of a file whose group is not one of
    /// the process.
    case keepSetID = 4
    case administer = 21
    case makeDevices = 27
    case setFileCapabilities = 31

    package var description: String {
        switch self {
        case .changeOwner: "CAP_CHOWN"
        case .overridePermissions: "CAP_DAC_OVERRIDE"
        case .actAsOwner: "CAP_FOWNER"
        case .keepSetID: "CAP_FSETID"
        case .administer: "CAP_SYS_ADMIN"
        case .makeDevices: "CAP_MKNOD"
        case .setFileCapabilities: "CAP_SETFCAP"
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
        case "fchown", "fchownat": [.changeOwner]
        case "fchmod", "chmod": [.actAsOwner, .keepSetID]
        case "mknodat": errno == .notPermitted ? [.makeDevices] : [.overridePermissions]
        case "futimens", "utimensat": [.actAsOwner, .overridePermissions]
        case _ where call.hasSuffix("xattr"):
            if path.hasSuffix("security.capability") {
                [.setFileCapabilities]
            } else if path.contains("trusted.") || path.contains("security.") {
                [.administer]
            } else {
                errno == .notPermitted ? [.actAsOwner] : [.overridePermissions]
            }
        case "mount", "open_tree", "fsopen", "fsmount", "fsconfig", "move_mount", "mount_setattr", "umount2",
            "unshare":
            [.administer]
        case "ioctl": path.hasPrefix("FS_IOC") ? [.actAsOwner] : [.administer]
        default: errno == .notPermitted ? [.actAsOwner] : [.overridePermissions]
        }
    }
}
