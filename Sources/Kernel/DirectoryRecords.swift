internal import CKernel
internal import Glibc

/// What a directory lists but `.` and `..`, as many as the kernel gives at once (getdents64(2)).
struct DirectoryRecords: ~Copyable {
    /// Some thousand records of names as they are; one of the longest name has 280 bytes.
    private let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 15, alignment: 8)
    private var rest = UnsafeRawBufferPointer(start: nil, count: 0)

    deinit { memory.deallocate() }

    /// Reads the next ones; those before are gone.
    ///
    /// - Returns: false if there were no more, or the directory has been removed while it was open.
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

    /// - Returns: the next one of those that were read, and whether it is a directory if the file system says so; nil behind
    ///   the last.
    mutating func next() -> (name: FileName, isDirectory: Bool?)? {
        while !rest.isEmpty {
            // Inode and offset, 8 bytes each, the record's size in 2, the type in 1, the name.
            let size = Int(rest.loadUnaligned(fromByteOffset: 16, as: UInt16.self))
            let type = rest[18]
            let name = FileName(rest[19..<size].prefix { $0 != 0 })
            rest = UnsafeRawBufferPointer(rebasing: rest[size...])
            if let name { return (name, type == UInt8(DT_UNKNOWN) ? nil : type == UInt8(DT_DIR)) }
        }
        return nil
    }
}
