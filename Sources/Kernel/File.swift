internal import CKernel
internal import Glibc
package import SystemPackage

/// An owned file descriptor, closed when its owner is destroyed.
///
/// Close a descriptor that was written to with `close()`: only that reports the error of close(2).
package struct File: ~Copyable, Sendable {
    let raw: CInt

    init(adopting raw: CInt) { self.raw = raw }

    deinit { _ = ck_close(raw) }

    /// - Throws: the error of close(2), e.g. EIO or ENOSPC of a delayed write.
    package consuming func close() throws(SyscallFailure) {
        let raw = self.raw
        discard self
        // close(2) is not retried after EINTR: Linux has freed the descriptor already ("Dealing with error returns").
        let result = ck_close(raw)
        if result < 0, -result != EINTR { throw SyscallFailure("close", errno: Errno(rawValue: -result)) }
    }
}

/// Memory for reading files, one after the other.
package final class ReadBuffer {
    fileprivate let memory: UnsafeMutableRawBufferPointer

    /// - Parameter size: in bytes.
    package init(size: Int) { memory = .allocate(byteCount: size, alignment: 4096) }

    deinit { memory.deallocate() }
}

extension File {
    /// Opens a file by a path from the user; symlinks are followed.
    package static func open(
        _ path: FilePath, _ flags: OpenFlags, mode: UInt32 = 0
    ) throws(SyscallFailure) -> File {
        let raw = try syscall("open", escaped(path), creates: flags.rawValue & O_CREAT != 0) {
            path.withPlatformString { ck_openat(AT_FDCWD, $0, flags.rawValue, mode) }
        }
        return File(adopting: raw)
    }

    /// Status of the file that a path from the user leads to; symlinks are followed.
    package static func status(of path: FilePath) throws(SyscallFailure) -> FileStatus {
        try status(of: path, flags: 0)
    }

    /// Status as `status(of:)`, but of a symlink itself.
    package static func statusNotFollowing(_ path: FilePath) throws(SyscallFailure) -> FileStatus {
        try status(of: path, flags: AT_SYMLINK_NOFOLLOW)
    }

    private static func status(of path: FilePath, flags: CInt) throws(SyscallFailure) -> FileStatus {
        var raw = stat()
        try syscall("fstatat", escaped(path)) {
            path.withPlatformString { ck_fstatat(AT_FDCWD, $0, &raw, flags) }
        }
        return FileStatus(raw)
    }

    /// Opens an O_PATH descriptor for a path from the user; symlinks are followed (open(2)).
    package static func openForStatus(_ path: FilePath) throws(SyscallFailure) -> File {
        File(
            adopting: try syscall("open", escaped(path)) {
                path.withPlatformString { ck_openat(AT_FDCWD, $0, pathOnly, 0) }
            })
    }

    /// Opens the file of this O_PATH descriptor for reading, or for reading and writing.
    package func reopened(writable: Bool) throws(SyscallFailure) -> File {
        try reopened(as: "", writable ? .readWrite : .read)
    }

    /// Opens the file of this O_PATH descriptor, even if its name leads to another file by now (proc(5), /proc/pid/fd).
    ///
    /// - Parameter name: name in the failure.
    func reopened(as name: String, _ flags: OpenFlags = .read) throws(SyscallFailure) -> File {
        File(
            adopting: try syscall("openat", name) {
                ck_openat(AT_FDCWD, "/proc/self/fd/\(self.raw)", flags.rawValue | O_NONBLOCK | O_NOCTTY, 0)
            })
    }

    /// Opens the file of this O_PATH descriptor for reading if it is a regular file or a directory; otherwise returns
    /// the descriptor.
    consuming func reopenedIfRegularOrDirectory(_ name: String) throws(SyscallFailure) -> File {
        switch try status().kind {
        case .regular, .directory: try reopened(as: name)
        default: self
        }
    }

    package func status() throws(SyscallFailure) -> FileStatus {
        var raw = stat()
        try syscall("fstat") { ck_fstat(self.raw, &raw) }
        return FileStatus(raw)
    }

    /// Reads up to `limit` bytes and replaces the content of the buffer with them. An empty buffer means end of file.
    package func read(into buffer: inout [UInt8], limit: Int) throws(SyscallFailure) {
        if buffer.count != limit { buffer = [UInt8](repeating: 0, count: limit) }
        let count = try syscall("read") { ck_read(self.raw, &buffer, limit) }
        if count < limit { buffer.removeLast(limit - count) }
    }

    /// Reads as `read(into:limit:)`, but at a position and without moving the position of the file.
    package func read(
        into buffer: inout [UInt8], limit: Int, at position: Int64
    ) throws(SyscallFailure) {
        if buffer.count != limit { buffer = [UInt8](repeating: 0, count: limit) }
        let count = try syscall("pread") { ck_pread(self.raw, &buffer, limit, position) }
        if count < limit { buffer.removeLast(limit - count) }
    }

    /// Reads at `position` and calls `body` with the bytes: as many as the buffer holds or the file still has, none at
    /// its end.
    package func read<Result>(
        at position: Int64, with buffer: ReadBuffer, _ body: (RawSpan) throws -> Result
    ) throws -> Result {
        let memory = buffer.memory
        let count = try syscall("pread") { ck_pread(self.raw, memory.baseAddress, memory.count, position) }
        return try body(UnsafeRawBufferPointer(rebasing: memory[..<count]).bytes)
    }

    /// The next range of data at or after a position; nil if only a hole is left (lseek(2), SEEK_DATA and SEEK_HOLE).
    package func data(from position: Int64) throws(SyscallFailure) -> Range<Int64>? {
        let start = ck_seek_data(raw, position)
        if start == -Int64(ENXIO) { return nil }
        if start < 0 { throw SyscallFailure("lseek", errno: Errno(rawValue: CInt(-start))) }
        return start..<Int64(try syscall("lseek") { ck_seek_hole(raw, start) })
    }

    /// Calls `body` with the data of a regular file in order, each piece of up to 256 KiB with its offset. Holes are left
    /// out.
    package func forEachPiece(_ body: ([UInt8], _ offset: Int64) throws -> Void) throws {
        var buffer = [UInt8]()
        var position: Int64 = 0
        while let range = try data(from: position) {
            position = range.lowerBound
            while position < range.upperBound {
                let limit = Int(min(1 << 18, range.upperBound - position))
                try read(into: &buffer, limit: limit, at: position)
                if buffer.isEmpty { return }
                try body(buffer, position)
                position += Int64(buffer.count)
            }
        }
    }

    /// Writes all bytes at the position of the file.
    package func write(_ bytes: RawSpan) throws(SyscallFailure) {
        try bytes.withUnsafeBytes { memory throws(SyscallFailure) in
            var done = 0
            while done < memory.count {
                done += try syscall("write", in: raw, skipped: memory.count - done) {
                    ck_write(self.raw, memory.baseAddress.map { $0 + done }, memory.count - done)
                }
            }
        }
    }

    /// Writes all bytes at `offset`. A gap that was never written stays a hole.
    package func write(_ bytes: RawSpan, at offset: Int64) throws(SyscallFailure) {
        try bytes.withUnsafeBytes { memory throws(SyscallFailure) in
            var done = 0
            while done < memory.count {
                done += try syscall("pwrite", in: raw, skipped: memory.count - done) {
                    ck_pwrite(
                        self.raw, memory.baseAddress.map { $0 + done }, memory.count - done,
                        offset + Int64(done))
                }
            }
        }
    }

    /// Writes as `write(_:at:)`, but skips long runs of zeros, which become holes in a new file.
    ///
    /// - Returns: the number of bytes written.
    package func writeSparsely(_ bytes: RawSpan, at offset: Int64) throws(SyscallFailure) -> Int64 {
        var written: Int64 = 0
        var start = 0
        var end = 0
        while start < bytes.byteCount {
            // Pieces end at multiples of the hole size in the file.
            let rest = Self.holeSize - Int((offset + Int64(end)) % Int64(Self.holeSize))
            let next = min(end + rest, bytes.byteCount)
            let isHole = bytes.isZero(end..<next)
            if !isHole { end = next }
            if isHole || end == bytes.byteCount {
                if end > start {
                    try write(bytes.extracting(start..<end), at: offset + Int64(start))
                    written += Int64(end - start)
                }
                end = next
                start = next
            }
        }
        return written
    }

    /// In bytes: small enough to find the holes of disk images, large enough to keep writes large.
    private static let holeSize = 1 << 16

    package func truncate(to size: Int64) throws(SyscallFailure) {
        try syscall("ftruncate", in: raw) { ck_ftruncate(self.raw, size) }
    }

    /// Copies the content of `source` to this file, which is new. Blocks are shared if the file system can
    /// (ioctl_ficlone(2)); otherwise holes are kept (copy_file_range(2), lseek(2) SEEK_DATA).
    ///
    /// - Parameter check: called before each piece of 16 MiB; an error that it throws ends the work.
    /// - Throws: `SyscallFailure`, errors of `check`.
    package func copyContent(of source: borrowing File, check: () throws -> Void = {}) throws {
        let size = try source.status().size
        if size == 0 { return }
        if try share(source) { return }
        try truncate(to: size)
        var position: Int64 = 0
        while position < size, let data = try source.data(from: position) {
            try copy(source, data, check)
            position = data.upperBound
        }
    }

    /// - Returns: false if the blocks cannot be shared.
    /// - Throws: only errors of a full or faulty device.
    private func share(_ source: borrowing File) throws(SyscallFailure) -> Bool {
        let from = source.raw
        do {
            try syscall("ioctl", "FICLONE") { ck_clone(raw, from) }
            return true
        } catch {
            if error.isOutOfSpace || error.errno == .ioError { throw error }
            return false
        }
    }

    /// Bytes per call of copy_file_range(2).
    private static let copyChunkSize: Int64 = 16 << 20

    private func copy(
        _ source: borrowing File, _ range: Range<Int64>, _ check: () throws -> Void
    ) throws {
        var position = range.lowerBound
        while position < range.upperBound {
            try check()
            var from = position
            var to = position
            let raw = source.raw
            let size = min(range.upperBound - position, Self.copyChunkSize)
            let copied = ck_copy_file_range(raw, &from, self.raw, &to, Int(size))
            switch Errno(rawValue: CInt(copied < 0 ? -copied : 0)) {
            case .interrupted: continue
            case .improperLink, .invalidArgument, .notSupported, .noFunction, .notPermitted:
                // Fails between file systems of different types since kernel 5.19, and for special files
                // (copy_file_range(2)).
                return try copyBuffered(source, position..<range.upperBound, check)
            case let errno where copied < 0: throw SyscallFailure("copy_file_range", errno: errno)
            default:
                if copied == 0 { return }
                position += Int64(copied)
            }
        }
    }

    private func copyBuffered(
        _ source: borrowing File, _ range: Range<Int64>, _ check: () throws -> Void
    ) throws {
        let raw = source.raw
        var buffer = [UInt8](repeating: 0, count: Int(min(range.upperBound - range.lowerBound, 1 << 20)))
        var position = range.lowerBound
        while position < range.upperBound {
            try check()
            let limit = min(buffer.count, Int(range.upperBound - position))
            let count = try syscall("pread") { ck_pread(raw, &buffer, limit, position) }
            if count == 0 { return }
            try buffer.withRawSpan { bytes throws(SyscallFailure) in
                try write(bytes.extracting(0..<count), at: position)
            }
            position += Int64(count)
        }
    }

    package func setOwner(uid: UInt32, gid: UInt32) throws(SyscallFailure) {
        try syscall("fchown") { ck_fchown(self.raw, uid, gid) }
    }

    package func setMode(_ mode: UInt32) throws(SyscallFailure) {
        try syscall("fchmod") { ck_fchmod(self.raw, mode) }
    }

    /// Sets the mode, and reads it back if it has more than permission bits.
    ///
    /// - Throws: `SyscallFailure`; `FileMismatch` if the kernel dropped setuid, setgid or the sticky bit without an
    ///   error (chmod(2)): without CAP_FSETID, or on a file system that does not store them.
    package func setExactMode(_ mode: UInt32) throws {
        try setMode(mode)
        try checkSpecialBits(mode, "fchmod")
    }

    func checkSpecialBits(_ mode: UInt32, _ call: @autoclosure () -> String) throws {
        guard mode > 0o777 else { return }
        let found = try status().mode
        if found != mode { throw FileMismatch.mode(mode, became: found, call(), isRefusal: true) }
    }

    package func setTimes(access: Timestamp, modification: Timestamp) throws(SyscallFailure) {
        let times = [access.timespec, modification.timespec]
        try syscall("futimens") { ck_futimens(self.raw, times) }
    }

    package func setExtendedAttribute(_ name: AttributeName, _ value: [UInt8]) throws(SyscallFailure) {
        try syscall("fsetxattr", name.description, in: raw, attribute: value.count) {
            name.withCString { ck_fsetxattr(self.raw, $0, value, value.count) }
        }
    }

    package func removeExtendedAttribute(_ name: AttributeName) throws(SyscallFailure) {
        try syscall("fremovexattr", name.description) { name.withCString { ck_fremovexattr(self.raw, $0) } }
    }

    /// The value of an attribute; nil if it or the support of the file system is missing.
    package func extendedAttribute(_ name: AttributeName) throws(SyscallFailure) -> [UInt8]? {
        try readExtendedAttribute("fgetxattr", name) { ck_fgetxattr(self.raw, $0, $1, $2) }
    }

    package func extendedAttributeNames() throws(SyscallFailure) -> [AttributeName] {
        try listExtendedAttributes("flistxattr") { ck_flistxattr(self.raw, $0, $1) }
    }

    /// Makes the file durable, and reports write errors since it was opened (fsync(2)): EIO, ENOSPC, EDQUOT. For a
    /// directory, makes its entries durable.
    package func sync() throws(SyscallFailure) { try syscall("fsync") { ck_fsync(self.raw) } }

    /// Makes the whole file system durable, and reports write errors since this descriptor was opened (syncfs(2),
    /// kernel ≥ 5.8).
    package func syncFileSystem() throws(SyscallFailure) { try syscall("syncfs") { ck_syncfs(self.raw) } }
}

/// Flags of open(2).
package struct OpenFlags: Sendable {
    let rawValue: CInt
    package static let read = OpenFlags(rawValue: O_RDONLY)
    package static let directory = OpenFlags(rawValue: O_RDONLY | O_DIRECTORY)
    package static let directoryNotFollowing = OpenFlags(rawValue: O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    package static let readWrite = OpenFlags(rawValue: O_RDWR)
    package static let readWriteCreate = OpenFlags(rawValue: O_RDWR | O_CREAT)
}

package func escaped(_ path: FilePath) -> String {
    path.withPlatformString {
        escaped(UnsafeBufferPointer(start: $0, count: path.length).lazy.map(UInt8.init(bitPattern:)))
    }
}

extension File {
    /// Takes the exclusive lock of one byte, which lasts until the descriptor is closed. It excludes other processes
    /// and other openings in this process (fcntl(2), open file description locks).
    ///
    /// - Returns: false if another opening holds it.
    package func tryLock(at offset: Int64 = 0) throws(SyscallFailure) -> Bool {
        do {
            try syscall("fcntl", "lock") { ck_ofd_lock(raw, Int16(F_WRLCK), offset, 1) }
            return true
        } catch let error where error.errno == .wouldBlock || error.errno == .permissionDenied {
            return false
        }
    }

    /// Whether another opening of the file holds that lock.
    package func isLocked(at offset: Int64) throws(SyscallFailure) -> Bool {
        try syscall("fcntl", "lock") { ck_ofd_is_locked(raw, offset, 1) } == 1
    }
}
