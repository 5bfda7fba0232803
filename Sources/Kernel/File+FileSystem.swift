internal import CKernel

/// The file system that a file is on (statfs(2)).
extension File {
    /// Free bytes of the file system for this process. Only root of the initial user namespace can use the reserved
    /// blocks.
    package func freeBytes() throws(SyscallFailure) -> Int64 {
        let isRoot: CInt = Privileges.current.isInitialNamespace && Process.effectiveUserID == 0 ? 1 : 0
        return Int64(try syscall("fstatfs") { ck_free_bytes(self.raw, isRoot) })
    }

    /// The ID of the file system (statfs(2)). ext4, xfs and btrfs keep it after a reboot, or at least as long as their
    /// device keeps its number; others have a new one for each mount.
    package func fileSystemID() throws(SyscallFailure) -> UInt64 {
        var id: UInt64 = 0
        try syscall("fstatfs") { ck_file_system_id(self.raw, &id) }
        return id
    }

    /// Name of the file system type; its magic number in hexadecimal if the name is not known here (statfs(2)).
    package func fileSystemType() throws(SyscallFailure) -> String {
        let magic = try syscall("fstatfs") { ck_file_system_magic(self.raw) }
        let known: [Int64: String] = [
            0xEF53: "ext4", 0x5846_5342: "xfs", 0x9123_683E: "btrfs", 0x0102_1994: "tmpfs",
            0x794C_7630: "overlay",
            0x6969: "nfs", 0xFF53_4D42: "cifs", 0x6573_5546: "fuse", 0xF2F5_2010: "f2fs", 0x2FC1_2FC1: "zfs",
            0x0BD0_0BD0: "lustre", 0x01021997: "9p", 0xCA45_1A4E: "bcachefs", 0xE0F5_E1E2: "erofs",
        ]
        return known[magic] ?? "0x" + String(magic, radix: 16)
    }
}
