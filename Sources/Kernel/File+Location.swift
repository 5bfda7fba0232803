internal import CKernel
internal import SystemPackage

extension File {
    /// ID of the mount through which the file was opened, as in the first field of `/proc/self/mountinfo` (proc(5),
    /// `/proc/pid/fdinfo`, `mnt_id`); nil if the kernel does not report it.
    package func mountID() throws(SyscallFailure) -> Int? {
        let text = try File.contents(of: FilePath("/proc/self/fdinfo/\(raw)"))
        for line in text.split(separator: UInt8(ascii: "\n")) where line.starts(with: "mnt_id:".utf8) {
            let digits = line.filter { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            if let id = Int(String(decoding: digits, as: UTF8.self)) { return id }
        }
        return nil
    }

    /// Whether two files are on the same file system, regardless of the mounts and subvolumes through which they were
    /// opened.
    package func isOnSameFileSystem(as other: borrowing File) throws(SyscallFailure) -> Bool {
        if try status().identity.device == other.status().identity.device { return true }
        let id = ck_btrfs_id(raw)
        return id >= 0 && id == ck_btrfs_id(other.raw)
    }

    /// The current path of the file for this process, without symlinks, as bytes (proc(5), `/proc/pid/fd`).
    ///
    /// - Throws: ENOENT if the file was removed.
    package func currentPath() throws(SyscallFailure) -> [UInt8] {
        let path = try FilePath("/proc/self/fd/\(raw)").resolved()
        return path.withPlatformString {
            UnsafeBufferPointer(start: $0, count: path.length).map(UInt8.init(bitPattern:))
        }
    }
}
