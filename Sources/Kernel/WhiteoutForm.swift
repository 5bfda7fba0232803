internal import SystemPackage

/// How overlay is told that a name of the layers below is hidden (kernel: overlayfs.rst, "whiteouts and
/// opaque directories").
package enum WhiteoutForm: String, Sendable, CaseIterable {
    /// A character device 0:0.
    case device
    /// An empty file with the attribute `overlay.whiteout`, in a directory whose `overlay.opaque` is `x`:
    /// where device nodes cannot be made, as on a store that lies on overlay itself. Kernel 6.7 and later;
    /// for lower directories only, never for the upper one of a writable mount.
    case attribute

    package static let whiteoutMark = AttributeName(literal: attributePrefix + "whiteout")
    package static let opaqueMark = AttributeName(literal: attributePrefix + "opaque")

    /// Whether overlay keeps its marks in `user.overlay.*`, which it must be told at the mount (`userxattr`, kernel ≥ 5.11):
    /// where the trusted ones cannot be set.
    package static let usesUserAttributes = !Privileges.current.hasTrustedAttributes

    private static let attributePrefix = usesUserAttributes ? "user.overlay." : "trusted.overlay."

    /// What `opaqueMark` says of a directory.
    package enum Opacity: UInt8 {
        /// Nothing of the layers below shows in it.
        case opaque = 0x79  // y
        /// It holds whiteouts in the form of attributes.
        case holdsWhiteouts = 0x78  // x
    }
}

extension Directory {
    /// Hides a name of the layers below. It is as old as the epoch: the same layer is the same directory.
    package func makeWhiteout(_ name: FileName, _ form: WhiteoutForm) throws(SyscallFailure) {
        switch form {
        case .device: try makeNode(name, .character(DeviceNumber(major: 0, minor: 0)), mode: 0)
        case .attribute:
            guard let file = try createFile(name, mode: 0) else {
                throw SyscallFailure("openat", path: "\(name)", errno: .fileExists)
            }
            try file.setExtendedAttribute(WhiteoutForm.whiteoutMark, [])
            try file.close()
        }
        try setTimes(of: name, access: .epoch, modification: .epoch)
    }

    /// Whether a name is a whiteout of either form.
    package func isWhiteout(_ name: FileName, _ status: FileStatus) throws(SyscallFailure) -> Bool {
        if status.isWhiteout { return true }
        guard status.kind == .regular, status.size == 0 else { return false }
        return try extendedAttribute(WhiteoutForm.whiteoutMark, of: name) != nil
    }

    /// Whether it hides all that the layers below have in it.
    package func isOpaque() throws(SyscallFailure) -> Bool {
        try file.extendedAttribute(WhiteoutForm.opaqueMark) == [WhiteoutForm.Opacity.opaque.rawValue]
    }

    package func mark(_ opacity: WhiteoutForm.Opacity) throws(SyscallFailure) {
        try file.setExtendedAttribute(WhiteoutForm.opaqueMark, [opacity.rawValue])
    }
}

extension Directory {
    /// Makes whiteouts and marks in this directory, which should be nobody's.
    ///
    /// - Returns: the form in which whiteouts can be made.
    package func tryLayer() throws(SyscallFailure) -> WhiteoutForm {
        try mark(.opaque)
        do throws(SyscallFailure) {
            try makeWhiteout(FileName(literal: "device"), .device)
            return .device
        } catch {
            if error.isDiskFault { throw error }
            try makeWhiteout(FileName(literal: "attribute"), .attribute)
            return .attribute
        }
    }
}
