internal import CKernel
internal import SystemPackage

/// fs-verity (kernel: Documentation/filesystems/fsverity.rst): the file cannot be written to any more, and the kernel
/// compares all that is read with a tree of digests. ext4 has it with the feature `verity`, btrfs, and f2fs.
extension File {
    /// Enables fs-verity with SHA-256 and blocks of 4096 bytes. The kernel reads the whole file and writes the digests
    /// to the disk.
    ///
    /// - Precondition: this file is open for reading, and no descriptor of it for writing (ETXTBSY).
    /// - Returns: the digest of the file, 32 bytes, which fsverity(1) also computes; nil if it is not supported.
    package func enableVerity() throws(SyscallFailure) -> [UInt8]? {
        while true {
            do throws(SyscallFailure) {
                let isEnabled = try syscall("ioctl", "FS_IOC_ENABLE_VERITY") { ck_enable_verity(raw) } == 1
                return isEnabled ? try verityDigest() : nil
            } catch {
                // Another process is enabling it.
                guard error.errno == .resourceBusy else { throw error }
                Process.sleep(milliseconds: 20)
            }
        }
    }

    /// The digest of a file with fs-verity, 32 bytes; nil if it is not enabled.
    package func verityDigest() throws(SyscallFailure) -> [UInt8]? {
        var digest = [UInt8](repeating: 0, count: 32)
        let isEnabled = try syscall("ioctl", "FS_IOC_MEASURE_VERITY") { ck_verity_digest(raw, &digest) } == 1
        return isEnabled ? digest : nil
    }
}
