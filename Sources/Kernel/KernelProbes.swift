internal import CKernel
internal import Glibc
package import SystemPackage

/// Probes kernel features by using them, and leaves nothing behind. Nil means that the process lacks the permission to
/// probe.
package enum KernelProbes {
    /// Whether the kernel has fsopen(2) and the related calls.
    package static func hasMountCalls() -> Bool? {
        trial { () throws(SyscallFailure) in _ = try MountCalls.Context(type: "tmpfs") }
    }

    /// Whether the kernel supports overlayfs.
    package static func hasOverlay() -> Bool? {
        trial { () throws(SyscallFailure) in _ = try MountCalls.Context(type: "overlay") }
    }

    /// Whether the kernel supports ID-mapped mounts (mount_setattr(2)).
    package static func hasMappedMounts() -> Bool? {
        // Only the user namespace that owns a file system may map its mounts.
        guard Privileges.current.isInitialNamespace else { return nil }
        return trial { () throws(SyscallFailure) in
            let tree = File(adopting: try syscall("open_tree") { ck_open_tree("/") })
            let own = try File.open("/proc/self/ns/user", .read)
            do throws(SyscallFailure) {
                try syscall("mount_setattr") { ck_mount_set_owners(tree.raw, own.raw) }
            } catch {
                // The refusal of the own namespace (EINVAL or EPERM) also shows that the call exists.
                if error.errno == .noFunction { throw error }
            }
        }
    }

    /// Whether the file system of a directory supports sharing blocks between files (ioctl_ficlone(2)).
    package static func sharesBlocks(in folder: FilePath) -> Bool? {
        trial { () throws(SyscallFailure) in
            let source = try File.temporary(in: folder)
            let copy = try File.temporary(in: folder)
            try [UInt8](repeating: 1, count: 4096).withRawSpan { span throws(SyscallFailure) in
                try source.write(span)
            }
            try syscall("ioctl", "FICLONE") { ck_clone(copy.raw, source.raw) }
        }
    }

    /// Whether the file system of a directory has fs-verity.
    package static func hasVerity(in folder: FilePath) -> Bool? {
        do throws(SyscallFailure) {
            let writable = try File.temporary(in: folder)
            let file = try writable.reopened(writable: false)
            try writable.close()
            return try file.enableVerity() != nil
        } catch {
            return error.isPermission ? nil : false
        }
    }

    /// The form in which whiteouts can be made in a directory, and whether its file system records the types of
    /// entries. Probed in a temporary subdirectory.
    ///
    /// - Throws: as `probeWhiteoutForm`.
    package static func layers(in folder: FilePath) throws -> (form: WhiteoutForm, recordsTypes: Bool) {
        let directory = try Directory(opening: folder)
        let name = FileName(literal: ".unpack-\(UInt32.random(in: .min ... .max))")
        try directory.makeDirectory(name, mode: 0o700)
        defer { try? directory.removeTree(name) }
        let probe = try directory.open(name)
        return (try probe.probeWhiteoutForm(), try probe.recordsTypes())
    }

    private static func trial(_ body: () throws(SyscallFailure) -> Void) -> Bool? {
        do throws(SyscallFailure) {
            try body()
            return true
        } catch {
            return error.isPermission ? nil : false
        }
    }
}
