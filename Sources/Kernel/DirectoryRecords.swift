internal import CKernel
internal import Glibc

/// A buffer of directory entries without `.` and `..` (getdents64(2)).
struct DirectoryRecords: ~Copyable {
    /// Room for about a thousand typical records; the longest has 280 bytes.
    private let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 15, alignment: 8)
    private var rest = UnsafeRawBufferPointer(start: nil, count: 0)

    deinit { memory.deallocate() }

    /// Fills the buffer with the next entries, replacing the previous ones.
    ///
    /// - Returns: false if there are no more, or if the directory was removed while it was open.
    mutating func read(from directory: borrowing File) throws(SyscallFailure) -> Bool {
        let raw = directory.raw
        do {
            let size = try syscall("getdents64") { ck_getdents(raw, memory.baseAddress, memory.count) }
            rest = UnsafeRawBufferPointer(rebasing: memory[..<size])
            return size > 0
        } catch let error where error.isMissing {
            return false
        }
    }

    /// - Returns: the next entry of the buffer, and whether it is a directory if the file system records that; nil
    ///   after the last one.
    mutating func next() -> (name: FileName, isDirectory: Bool?)? {
        while !rest.isEmpty {
            // struct linux_dirent64: inode and offset of 8 bytes each, record size of 2, type of 1, name.
            let size = Int(rest.loadUnaligned(fromByteOffset: 16, as: UInt16.self))
            let type = rest[18]
            let name = FileName(rest[19..<size].prefix { $0 != 0 })
            rest = UnsafeRawBufferPointer(rebasing: rest[size...])
            if let name { return (name, type == UInt8(DT_UNKNOWN) ? nil : type == UInt8(DT_DIR)) }
        }
        return nil
    }
}
