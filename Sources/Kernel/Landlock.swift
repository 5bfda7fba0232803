internal import CKernel

/// Restricts a thread with Landlock (landlock(7)).
package enum Landlock {
    /// The first ABI version with rights for both cross-directory renames (REFER) and truncation: Linux 6.2.
    private static let oldestVersion: CInt = 3

    /// The restricted rights: writing, truncating, making and removing entries of every type, linking and renaming
    /// across directories.
    ///
    /// Reading is not restricted: lower layers, blobs and the files of the C library are elsewhere.
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

    /// ABI version of Landlock; nil if the kernel does not support it or has it disabled.
    package static var version: Int? {
        let version = ck_landlock_abi()
        return version > 0 ? Int(version) : nil
    }

    /// Restricts the calling thread, and the threads it starts later: they can change names and contents only below one
    /// directory, and cannot mount. Changes of owners, modes, times and attributes are not restricted (landlock(7),
    /// "Current limitations").
    ///
    /// - Returns: false if the kernel has no Landlock of this version; the thread is then not restricted.
    @discardableResult
    package static func confine(to directory: Directory) throws(SyscallFailure) -> Bool {
        guard isAvailable else { return false }
        try syscall("landlock_restrict_self") { ck_landlock_confine(directory.file.raw, writing) }
        return true
    }
}
