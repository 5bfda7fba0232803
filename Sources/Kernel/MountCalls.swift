internal import CKernel
internal import Glibc
package import SystemPackage

/// The mount calls: fsopen(2) and its kin (kernel ≥ 5.2), mount(2) for older needs. All need CAP_SYS_ADMIN.
package enum MountCalls {
    /// What one fsconfig(2) value may hold (kernel: fs/fsopen.c, 256 with the NUL).
    package static let longestValue = 255

    /// A file system that is being configured, before it is mounted.
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

        /// Creates the file system and attaches it.
        package func mount(on target: FilePath, readOnly: Bool) throws(SyscallFailure) {
            try attach(try create(readOnly: readOnly), to: target)
        }

        /// Creates the file system and a mount of it that is attached nowhere.
        func create(readOnly: Bool) throws(SyscallFailure) -> File {
            try syscall("fsconfig", "create") { ck_fsconfig(file.raw, ck_fsconfig_create, nil, nil, 0) }
            let attributes: UInt32 = readOnly ? ck_mount_attribute_read_only : 0
            return File(adopting: try syscall("fsmount") { ck_fsmount(file.raw, attributes) })
        }
    }

    /// Whether overlay takes one `lowerdir+` a layer (kernel ≥ 6.7). Asked of the kernel; nothing is mounted.
    ///
    /// Before 6.5 overlay does not parse its options by fsconfig(2): any is taken, and judged at the mount. So an
    /// option that cannot exist is asked for too.
    ///
    /// - Returns: nil where asking is not permitted.
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

    /// Attaches a directory a second time. A read-only bind is read-only from its first moment.
    package static func bind(_ source: FilePath, on target: FilePath, readOnly: Bool) throws(SyscallFailure) {
        let tree = File(
            adopting: try syscall("open_tree", escaped(source)) {
                source.withPlatformString { ck_open_tree($0) }
            })
        if readOnly { try syscall("mount_setattr") { ck_mount_set_readonly(tree.raw) } }
        try attach(tree, to: target)
    }

    private static func attach(_ mount: borrowing File, to target: FilePath) throws(SyscallFailure) {
        let raw = mount.raw
        try syscall("move_mount", escaped(target)) { target.withPlatformString { ck_move_mount(raw, $0) } }
    }

    /// mount(2) of an overlay, with relative paths in its options seen from `directory`.
    ///
    /// - Precondition: at most 4095 bytes of options: the kernel cuts off the rest without a word.
    package static func overlay(
        options: String, from directory: Directory, on target: FilePath, readOnly: Bool
    ) throws(SyscallFailure) {
        precondition(options.utf8.count <= 4095, "mount(2) would cut these options")
        let flags = readOnly ? UInt(readOnlyFlag) : 0
        try syscall("mount", escaped(target)) {
            target.withPlatformString {
                ck_mount_from(directory.file.raw, "overlay", $0, "overlay", flags, options)
            }
        }
    }

    package static func unmount(_ target: FilePath) throws(SyscallFailure) {
        try syscall("umount2", escaped(target)) { target.withPlatformString { ck_umount($0) } }
    }
}

private let readOnlyFlag = 1
