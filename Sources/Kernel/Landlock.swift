internal import CKernel

/// The kernel's own fence around a thread (landlock(7)).
package enum Landlock {
    /// The first version that knows both renaming across directories (REFER) and truncation: Linux 6.2.
    private static let oldestVersion: CInt = 3

    /// Writing, truncating, making and removing of every kind, linking and renaming across directories.
    ///
    /// Reading is free: layers below, blobs and the C library's files lie elsewhere.
    private static let writing: UInt64 = {
        let writeFile: UInt64 = 1 << 1
        let removeDirectory: UInt64 = 1 << 4
        let removeFile: UInt64 = 1 << 5
        let make: UInt64 = 0x7F << 6
        let refer: UInt64 = 1 << 13
        let truncate: UInt64 = 1 << 14
        return writeFile | removeDirectory | removeFile | make | refer | truncate
    }()

    package static let isAvailable = ck_landlock_abi() >= oldestVersion

    /// The version of the kernel's interface; nil where there is none, or none that is switched on.
    package static var version: Int? {
        let version = ck_landlock_abi()
        return version > 0 ? Int(version) : nil
    }

    /// From now on the calling thread, and each that it starts, can change names and contents below one
    /// directory alone, and can mount nothing. Owners, modes, times and attributes are not covered
    /// (landlock(7), "Current limitations").
    ///
    /// - Returns: false where the kernel has no such fence; then nothing has changed.
    @discardableResult
    package static func confine(to directory: Directory) throws(SyscallFailure) -> Bool {
        guard isAvailable else { return false }
        try syscall("landlock_restrict_self") { ck_landlock_confine(directory.file.raw, writing) }
        return true
    }
}
