internal import CKernel
internal import Glibc
package import SystemPackage

/// What this kernel can do, by trying it. Nothing stays of the trials.
package enum KernelProbes {
    /// Whether file systems are mounted by fsopen(2) and its kin.
    ///
    /// - Returns: nil where it is not permitted to ask.
    package static func hasMountCalls() -> Bool? {
        trial { () throws(SyscallFailure) in _ = try MountCalls.Context(type: "tmpfs") }
    }

    /// Whether there is an overlay file system.
    package static func hasOverlay() -> Bool? {
        trial { () throws(SyscallFailure) in _ = try MountCalls.Context(type: "overlay") }
    }

    /// Whether owners can be mapped at a mount.
    package static func hasMappedMounts() -> Bool? {
        // Only whoever owns the file system may.
        guard Privileges.current.isInitialNamespace else { return nil }
        return trial { () throws(SyscallFailure) in
            let tree = File(adopting: try syscall("open_tree") { ck_open_tree("/") })
            let own = try File.open("/proc/self/ns/user", .read)
            do throws(SyscallFailure) {
                try syscall("mount_setattr") { ck_mount_set_owners(tree.raw, own.raw) }
            } catch {
                // That one's own namespace is refused is an answer, too.
                if error.errno == .noFunction { throw error }
            }
        }
    }

    /// Whether a directory's file system shares blocks between files (ioctl_ficlone(2)).
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

    /// How whiteouts can be made in a directory, and whether its file system records the types of entries; tried in one that is
    /// removed again.
    package static func layers(
        in folder: FilePath
    ) throws(SyscallFailure) -> (form: WhiteoutForm, recordsTypes: Bool) {
        let directory = try Directory(opening: folder)
        let name = FileName(literal: ".unpack-\(UInt32.random(in: .min ... .max))")
        try directory.makeDirectory(name, mode: 0o700)
        defer { try? directory.removeTree(name) }
        let probe = try directory.open(name)
        return (try probe.tryLayer(), try probe.recordsTypes())
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
