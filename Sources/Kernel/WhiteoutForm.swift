internal import SystemPackage

/// Form of a whiteout, which hides a name of the lower layers (kernel: overlayfs.rst, "whiteouts and opaque
/// directories").
package enum WhiteoutForm: String, Sendable, CaseIterable {
    /// A character device 0:0.
    case device
    /// An empty file with the attribute `overlay.whiteout`, in a directory whose `overlay.opaque` is `x`. For places
    /// where device nodes cannot be made, e.g. a store on overlayfs. Kernel 6.7 and later, and only in lower
    /// directories: the upper directory of a writable mount cannot have them.
    case attribute

    /// Value of the attribute `overlay.opaque` of a directory.
    package enum Opacity: UInt8 {
        /// The directory hides all entries of the lower layers.
        case opaque = 0x79  // y
        /// The directory contains whiteouts that are attributes.
        case holdsWhiteouts = 0x78  // x
    }
}

/// Names of the extended attributes of overlayfs.
package struct OverlayMarks: Hashable, Sendable {
    /// On an empty file: the file is a whiteout.
    package let whiteout: AttributeName
    /// On a directory: an `Opacity`.
    package let opaque: AttributeName
    /// On a directory or file: the path of its lower part, which has another name (kernel: overlayfs.rst,
    /// "redirect_dir").
    package let redirect: AttributeName
    /// On a file: its content is that of the lower file (kernel: overlayfs.rst, "Metadata only copy up").
    package let metacopy: AttributeName

    private init(_ prefix: String) {
        redirect = AttributeName(literal: prefix + "redirect")
        metacopy = AttributeName(literal: prefix + "metacopy")
        whiteout = AttributeName(literal: prefix + "whiteout")
        opaque = AttributeName(literal: prefix + "opaque")
    }

    package static let trusted = OverlayMarks("trusted.overlay.")
    /// Used by mounts with the option `userxattr` (kernel ≥ 5.11).
    package static let user = OverlayMarks("user.overlay.")

    /// Used by the mounts of this program: the trusted names if they can be set.
    package static let own = Privileges.current.hasTrustedAttributes ? trusted : user
}

extension Directory {
    /// Makes a whiteout. Its times are the epoch, so that equal layers give equal directories.
    package func makeWhiteout(
        _ name: FileName, _ form: WhiteoutForm, _ marks: OverlayMarks = .own
    ) throws(SyscallFailure) {
        switch form {
        case .device: try makeNode(name, .character(DeviceNumber(major: 0, minor: 0)), mode: 0)
        case .attribute:
            let file = try makeFile(name, mode: 0)
            try file.setExtendedAttribute(marks.whiteout, [])
            try file.close()
        }
        if !Process.ownsNewFilesAsRoot { try setOwner(of: name, uid: 0, gid: 0) }
        try setTimes(of: name, access: .epoch, modification: .epoch)
    }

    /// Whether an entry is a whiteout of either form.
    package func isWhiteout(
        _ name: FileName, _ status: FileStatus, _ marks: OverlayMarks = .own
    ) throws(SyscallFailure) -> Bool {
        if status.isWhiteout { return true }
        guard status.kind == .regular, status.size == 0 else { return false }
        return try extendedAttribute(marks.whiteout, of: name) != nil
    }

    /// Whether the directory hides all entries of the lower layers.
    package func isOpaque(_ marks: OverlayMarks = .own) throws(SyscallFailure) -> Bool {
        try opacity(marks) == .opaque
    }

    package func opacity(_ marks: OverlayMarks) throws(SyscallFailure) -> WhiteoutForm.Opacity? {
        guard let value = try file.extendedAttribute(marks.opaque), value.count == 1 else { return nil }
        return WhiteoutForm.Opacity(rawValue: value[0])
    }

    package func setOpacity(
        _ opacity: WhiteoutForm.Opacity, _ marks: OverlayMarks = .own
    ) throws(SyscallFailure) {
        try file.setExtendedAttribute(marks.opaque, [opacity.rawValue])
    }
}

extension Directory {
    /// Probes whiteouts, marks, and a file of another owner in this directory, which the caller removes afterwards.
    ///
    /// - Returns: the form in which whiteouts can be made.
    /// - Throws: `SyscallFailure`; `FileMismatch` if a file system reports success but keeps another owner or mode, as
    ///   9p with `security_model=none` and some FUSE file systems do.
    package func probeWhiteoutForm(_ marks: OverlayMarks = .own) throws -> WhiteoutForm {
        try setOpacity(.opaque, marks)
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

    /// Probes, as `probeWhiteoutForm`, which marks and whiteouts layers can have that are merged in this directory and
    /// never mounted.
    ///
    /// - Returns: marks other than `OverlayMarks.own` on an overlay file system before Linux 6.7, which refuses those.
    package func probeStagedLayers() throws -> (marks: OverlayMarks, form: WhiteoutForm) {
        do {
            return (.own, try probeWhiteoutForm())
        } catch {
            guard (error as? SyscallFailure)?.isUnsupported == true, OverlayMarks.own == .trusted else {
                throw error
            }
            return (.user, try probeWhiteoutForm(.user))
        }
    }

    private func tryMetadata() throws {
        let name = FileName(literal: "metadata")
        let file = try makeFile(name, mode: 0o600)
        let id: UInt32 = Privileges.current.canOwn(uid: 1, gid: 1) ? 1 : 0
        do throws(SyscallFailure) {
            try file.setOwner(uid: id, gid: id)
            try file.setMode(0o711)
        } catch {
            // Without the capability only entries that need it fail, and an image may have none.
            if error.isPermission { return }
            throw error
        }
        let status = try file.status()
        if status.uid != id || status.gid != id {
            throw FileMismatch.owner((id, id), became: status, isRefusal: false)
        }
        if status.mode != 0o711 {
            throw FileMismatch.mode(0o711, became: status.mode, "fchmod", isRefusal: false)
        }
    }
}
