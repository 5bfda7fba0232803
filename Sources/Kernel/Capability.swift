internal import SystemPackage

/// A capability that writing a tree may need (capabilities(7)); the raw value is its number.
package enum Capability: UInt64, CaseIterable, Sendable, CustomStringConvertible {
    case changeOwner = 0
    case overridePermissions = 1
    case actAsOwner = 3
    /// Without it chmod(2) drops the set-group-ID bit of a file whose group is not one of the process's, and reports success.
    case keepSetID = 4
    case administer = 21
    case makeDevices = 27
    case setFileCapabilities = 31

    /// As capabilities(7) names it.
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
    /// The capability that the call needed and that root of this process does not have; nil if the failure has another cause,
    /// as it has for an ordinary user.
    package var missingCapability: Capability? {
        guard isPermission, Process.effectiveUserID == 0 else { return nil }
        return capabilities.first { !Privileges.current.has($0) }
    }

    /// Those that the call may need, the likeliest first.
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
