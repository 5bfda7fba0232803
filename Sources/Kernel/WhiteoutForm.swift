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

    /// What the mark `opaque` says of a directory.
    package enum Opacity: UInt8 {
        /// Nothing of the layers below shows in it.
        case opaque = 0x79  // y
        /// It holds whiteouts in the form of attributes.
        case holdsWhiteouts = 0x78  // x
    }
}

/// The extended attributes in which overlay keeps what a layer hides.
package struct OverlayMarks: Hashable, Sendable {
    /// Of an empty file that is a whiteout.
    package let whiteout: AttributeName
    /// Of a directory, with an `Opacity`.
    package let opaque: AttributeName
    /// Of a directory or file whose lower part has another name (kernel: overlayfs.rst, "redirect_dir").
    package let redirect: AttributeName
    /// Of a file whose content is the lower one's (kernel: overlayfs.rst, "Metadata only copy up").
    package let metacopy: AttributeName

    private init(_ prefix: String) {
        redirect = AttributeName(literal: prefix + "redirect")
        metacopy = AttributeName(literal: prefix + "metacopy")
        whiteout = AttributeName(literal: prefix + "whiteout")
        opaque = AttributeName(literal: prefix + "opaque")
    }

    package static let trusted = OverlayMarks("trusted.overlay.")
    /// Those of a mount that is told so (`userxattr`, kernel ≥ 5.11).
    package static let user = OverlayMarks("user.overlay.")

    /// What this program's own mounts use: the trusted ones where they can be set.
    package static let own = Privileges.current.hasTrustedAttributes ? trusted : user
}

extension Directory {
    /// Hides a name of the layers below. It is as old as the epoch: the same layer is the same directory.
    package func makeWhiteout(
        _ name: FileName, _ form: WhiteoutForm, _ marks: OverlayMarks = .own
    ) throws(SyscallFailure) {
        switch form {
        case .device: try makeNode(name, .character(DeviceNumber(major: 0, minor: 0)), mode: 0)
        case .attribute:
            guard let file = try createFile(name, mode: 0) else {
                throw SyscallFailure("openat", path: "\(name)", errno: .fileExists)
            }
            try file.setExtendedAttribute(marks.whiteout, [])
            try file.close()
        }
        if !Process.makesFilesOfRoot { try setOwner(of: name, uid: 0, gid: 0) }
        try setTimes(of: name, access: .epoch, modification: .epoch)
    }

    /// Whether a name is a whiteout of either form.
    package func isWhiteout(
        _ name: FileName, _ status: FileStatus, _ marks: OverlayMarks = .own
    ) throws(SyscallFailure) -> Bool {
        if status.isWhiteout { return true }
        guard status.kind == .regular, status.size == 0 else { return false }
        return try extendedAttribute(marks.whiteout, of: name) != nil
    }

    /// Whether it hides all that the layers below have in it.
    package func isOpaque(_ marks: OverlayMarks = .own) throws(SyscallFailure) -> Bool {
        try opacity(marks) == .opaque
    }

    package func opacity(_ marks: OverlayMarks) throws(SyscallFailure) -> WhiteoutForm.Opacity? {
        guard let value = try file.extendedAttribute(marks.opaque), value.count == 1 else { return nil }
        return WhiteoutForm.Opacity(rawValue: value[0])
    }

    package func mark(
        _ opacity: WhiteoutForm.Opacity, _ marks: OverlayMarks = .own
    ) throws(SyscallFailure) {
        try file.setExtendedAttribute(marks.opaque, [opacity.rawValue])
    }
}

extension Directory {
    /// Makes whiteouts, marks and a file of another owner in this directory, which is removed afterwards.
    ///
    /// - Returns: the form in which whiteouts can be made.
    /// - Throws: also EOPNOTSUPP where a file system reports success and keeps another owner or mode, as 9p with
    ///   `security_model=none` and some FUSE file systems do.
    package func tryLayer(_ marks: OverlayMarks = .own) throws(SyscallFailure) -> WhiteoutForm {
        try mark(.opaque, marks)
        try tryMetadata()
        do throws(SyscallFailure) {
            try makeWhiteout(FileName(literal: "device"), .device, marks)
            return .device
        } catch {
            if error.isDiskFault { throw error }
            try makeWhiteout(FileName(literal: "attribute"), .attribute, marks)
            return .attribute
        }
    }

    private func tryMetadata() throws(SyscallFailure) {
        let name = FileName(literal: "metadata")
        guard let file = try createFile(name, mode: 0o600) else {
            throw SyscallFailure("openat", path: "\(name)", errno: .fileExists)
        }
        let id: UInt32 = Privileges.current.canOwn(uid: 1, gid: 1) ? 1 : 0
        do throws(SyscallFailure) {
            try file.setOwner(uid: id, gid: id)
            try file.setMode(0o711)
        } catch {
            // Without the capability an entry that needs it fails by itself, and an image may have none.
            if error.isPermission { return }
            throw error
        }
        let status = try file.status()
        if status.uid != id || status.gid != id {
            throw SyscallFailure(
                "fchown", path: "\(id):\(id) became \(status.uid):\(status.gid)", errno: .notSupported)
        }
        if status.mode != 0o711 {
            throw SyscallFailure(
                "fchmod", path: "mode 711 became \(String(status.mode, radix: 8))", errno: .notSupported)
        }
    }
}
