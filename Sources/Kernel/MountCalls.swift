internal import CKernel
internal import Glibc
package import SystemPackage

/// Mount system calls: fsopen(2) and the related calls (kernel ≥ 5.2), and mount(2) for overlayfs with relative paths.
/// All need CAP_SYS_ADMIN.
package enum MountCalls {
    /// Longest value of fsconfig(2) in bytes (kernel: fs/fsopen.c, 256 with the NUL).
    package static let longestValue = 255

    /// The configuration of a file system that is not mounted yet.
    package struct Context: ~Copyable {
        private let file: File

        /// - Parameter type: e.g. `overlay`.
        package init(type: String) throws(SyscallFailure) {
            file = File(adopting: try syscall("fsopen", type) { ck_fsopen(type) })
        }

        /// - Parameter value: nil for a flag.
        package func set(_ key: String, _ value: FilePath?) throws(SyscallFailure) {
            guard let value else {
                try syscall("fsconfig", key) { ck_fsconfig(file.raw, ck_fsconfig_set_flag, key, nil, 0) }
                return
            }
            try syscall("fsconfig", "\(key)=\(escaped(value))") {
                value.withPlatformString { ck_fsconfig(file.raw, ck_fsconfig_set_string, key, $0, 0) }
            }
        }

        /// Creates the file system and mounts it on `target`.
        package func mount(on target: FilePath, readOnly: Bool) throws(SyscallFailure) {
            try create(readOnly: readOnly).attach(to: target)
        }

        /// Creates the file system and a mount of it.
        package func create(readOnly: Bool) throws(SyscallFailure) -> MountObject {
            try syscall("fsconfig", "create") { ck_fsconfig(file.raw, ck_fsconfig_create, nil, nil, 0) }
            let attributes: UInt32 = readOnly ? ck_mount_attribute_read_only : 0
            return MountObject(
                File(adopting: try syscall("fsmount") { ck_fsmount(file.raw, attributes) }))
        }
    }

    /// Whether overlayfs accepts one `lowerdir+` option per layer (kernel ≥ 6.7). Probed without mounting.
    ///
    /// Before 6.5 overlayfs does not parse options in fsconfig(2): it accepts any option and checks it when mounting.
    /// An option that cannot exist reveals this.
    ///
    /// - Returns: nil if the process lacks the permission to probe.
    package static func takesAppendedLowers() -> Bool? {
        do {
            let context = try Context(type: "overlay")
            try context.set("lowerdir+", "/")
            do {
                try context.set("no-such-option", "/")
                return false
            } catch {
                return true
            }
        } catch {
            return error.isPermission ? nil : false
        }
    }

    /// Bind-mounts a directory. A read-only bind mount is read-only from the start.
    package static func bind(_ source: FilePath, on target: FilePath, readOnly: Bool) throws(SyscallFailure) {
        let copy = try copy(of: source)
        if readOnly { try syscall("mount_setattr") { ck_mount_set_readonly(copy.file.raw) } }
        try copy.attach(to: target)
    }

    /// Copies the mount of a directory: only what is below the directory, and without the mounts below it.
    package static func copy(of source: FilePath) throws(SyscallFailure) -> MountObject {
        let raw = try syscall("open_tree", escaped(source)) { source.withPlatformString { ck_open_tree($0) } }
        return MountObject(File(adopting: raw))
    }

    /// Moves the calling thread to a mount namespace of its own, whose mounts no other namespace sees. It ends with the
    /// thread.
    ///
    /// - Returns: false if mounts are still visible elsewhere, because the root directory is not a mount point
    ///   (chroot(2)).
    /// - Throws: EPERM without CAP_SYS_ADMIN.
    package static func enterPrivateNamespace() throws(SyscallFailure) -> Bool {
        try syscall("unshare", "mount namespace") { ck_unshare_mounts() }
        do throws(SyscallFailure) {
            try syscall("mount", "/") { ck_make_mounts_private() }
            return true
        } catch {
            guard error.errno == .invalidArgument else { throw error }
            return false
        }
    }

    /// Mounts an overlay with mount(2); relative paths in the options start at `directory`.
    ///
    /// - Parameter source: shown in the mount table; the kernel does not use it.
    /// - Precondition: at most 4095 bytes of options, because the kernel silently truncates the rest.
    package static func overlay(
        options: String, source: FilePath = "overlay", from directory: Directory, on target: FilePath,
        readOnly: Bool
    ) throws(SyscallFailure) {
        precondition(options.utf8.count <= 4095, "mount(2) would truncate these options")
        let flags = readOnly ? UInt(readOnlyFlag) : 0
        try syscall("mount", escaped(target)) {
            target.withPlatformString { target in
                source.withPlatformString {
                    ck_mount_from(directory.file.raw, $0, target, "overlay", flags, options)
                }
            }
        }
    }

    /// - Parameter lazily: whether the mount leaves the directory at once even if files of it are open (umount2(2),
    ///   MNT_DETACH).
    package static func unmount(_ target: FilePath, lazily: Bool = false) throws(SyscallFailure) {
        let flag: CInt = lazily ? 1 : 0
        try syscall("umount2", escaped(target)) { target.withPlatformString { ck_umount($0, flag) } }
    }
}

private let readOnlyFlag = 1

/// A mount that is attached to no directory yet (fsmount(2), open_tree(2)). The kernel unmounts it if this object ends
/// before.
package final class MountObject: Sendable {
    let file: File

    fileprivate init(_ file: consuming File) { self.file = file }

    /// Attaches the mount to a directory.
    package func attach(to target: FilePath) throws(SyscallFailure) {
        try syscall("move_mount", escaped(target)) {
            target.withPlatformString { ck_move_mount(file.raw, $0) }
        }
    }
}
