internal import CKernel
internal import Glibc
package import SystemPackage

/// An open directory, at whose descriptor all calls below it are anchored.
///
/// Names are single components, and a symlink as the last component is never followed, so that no call leaves the
/// directory unless its documentation says so. Every call throws `SyscallFailure` with the name that it concerns.
package final class Directory: Sendable {
    package let file: File
    var raw: CInt { file.raw }

    package init(adopting file: consuming File) { self.file = file }

    /// Opens a directory by a path from the user; symlinks are followed.
    package convenience init(opening path: FilePath) throws(SyscallFailure) {
        self.init(adopting: try File.open(path, .directory))
    }

    package func open(_ name: FileName) throws(SyscallFailure) -> Directory {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
        return Directory(adopting: try openDescriptor(name, flags))
    }

    /// Opens a regular file for reading.
    ///
    /// The type is checked through an O_PATH descriptor first: opening a device may have side effects, and opening a
    /// FIFO may block.
    ///
    /// - Parameter expected: the status found under the name earlier; nil accepts any regular file.
    /// - Throws: `FileMismatch` for another type, and for a file other than the expected one; `SyscallFailure`.
    package func openFile(_ name: FileName, expecting expected: FileStatus? = nil) throws -> File {
        let found = try openDescriptor(name, pathOnly | O_NOFOLLOW)
        let status = try found.status()
        guard status.kind == .regular else {
            throw FileMismatch.notRegular(path: name.description, type: status.kind.noun)
        }
        if let expected, expected.identity != status.identity {
            throw FileMismatch.replaced(path: name.description)
        }
        return try found.reopened(as: name.description)
    }

    /// Opens an O_PATH descriptor for a name, without following a symlink; nil if the name is missing. The file itself
    /// is not opened (open(2)).
    func openForStatus(_ name: FileName) throws(SyscallFailure) -> File? {
        do throws(SyscallFailure) {
            return try openDescriptor(name, pathOnly | O_NOFOLLOW)
        } catch let error where error.isMissing {
            return nil
        }
    }

    /// Creates a file and opens it for writing.
    ///
    /// - Throws: EEXIST if the name is taken.
    package func makeFile(_ name: FileName, mode: UInt32) throws(SyscallFailure) -> File {
        try openDescriptor(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: mode)
    }

    /// As `makeFile`; nil if the name is taken.
    package func createFile(_ name: FileName, mode: UInt32) throws(SyscallFailure) -> File? {
        do throws(SyscallFailure) {
            return try makeFile(name, mode: mode)
        } catch let error where error.isExistingFile {
            return nil
        }
    }

    /// Opens a file for reading and writing, created with `mode` if missing.
    package func openOrCreateFile(_ name: FileName, mode: UInt32) throws(SyscallFailure) -> File {
        try openDescriptor(name, O_RDWR | O_CREAT | O_NOFOLLOW, mode: mode)
    }

    /// Opens a file for reading and writing; nil if it is missing.
    package func openExistingFile(_ name: FileName) throws(SyscallFailure) -> File? {
        do throws(SyscallFailure) {
            return try openDescriptor(name, O_RDWR | O_NOFOLLOW)
        } catch let error where error.isMissing {
            return nil
        }
    }

    private func openDescriptor(
        _ name: FileName, _ flags: CInt, mode: UInt32 = 0
    ) throws(SyscallFailure) -> File {
        File(
            adopting: try syscall("openat", name.description, creates: flags & O_CREAT != 0, in: raw) {
                name.withCString { ck_openat(raw, $0, flags, mode) }
            })
    }

    /// Opens the file that a relative path leads to. Symlinks are followed and may lead out of this directory.
    ///
    /// - Returns: a readable descriptor of a regular file or directory; an O_PATH descriptor of any other type, because
    ///   opening a FIFO, device or socket may have side effects.
    package func openFollowing(_ path: FilePath) throws(SyscallFailure) -> File {
        let found = File(
            adopting: try syscall("openat", escaped(path)) {
                path.withPlatformString { ck_openat(raw, $0, pathOnly, 0) }
            })
        return try found.reopenedIfRegularOrDirectory(escaped(path))
    }

    /// Opens a file as `openFollowing` does, but fails if the path leads out of this directory (openat2(2),
    /// RESOLVE_BENEATH).
    package func openBeneath(_ path: FilePath) throws(SyscallFailure) -> File {
        let beneath: UInt64 = 0x08
        let found = File(
            adopting: try syscall("openat2", escaped(path)) {
                path.withPlatformString { ck_openat2(raw, $0, pathOnly, beneath) }
            })
        return try found.reopenedIfRegularOrDirectory(escaped(path))
    }

    /// Status of an entry, a symlink not followed; nil if it is missing.
    package func status(of name: FileName) throws(SyscallFailure) -> FileStatus? {
        var raw = stat()
        let directory = self.raw
        do {
            try syscall("fstatat", name.description) {
                name.withCString { ck_fstatat(directory, $0, &raw, AT_SYMLINK_NOFOLLOW) }
            }
        } catch let error where error.errno == .noSuchFileOrDirectory {
            return nil
        }
        return FileStatus(raw)
    }

    package func readLink(_ name: FileName) throws(SyscallFailure) -> [UInt8] {
        // A target is at most PATH_MAX - 1 bytes on every file system of Linux (symlink(7)).
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = try syscall("readlinkat", name.description) {
            name.withCString { ck_readlinkat(raw, $0, &buffer, buffer.count) }
        }
        return buffer.prefix(count).map(UInt8.init(bitPattern:))
    }

    /// Names of up to `limit` entries without `.` and `..`, in the order of the file system.
    package func names(atMost limit: Int = .max) throws(SyscallFailure) -> [FileName] {
        var stream = try NameStream(of: self)
        var names = [FileName]()
        while names.count < limit, let name = try stream.next() { names.append(name) }
        return names
    }

    // MARK: Making and removing

    package func makeDirectory(_ name: FileName, mode: UInt32) throws(SyscallFailure) {
        try syscall("mkdirat", name.description, in: raw) { name.withCString { ck_mkdirat(raw, $0, mode) } }
    }

    /// - Parameter target: stored as given, never resolved.
    package func makeSymlink(_ name: FileName, target: [UInt8]) throws(SyscallFailure) {
        let cTarget = target.map(CChar.init(bitPattern:)) + [0]
        do throws(SyscallFailure) {
            try syscall("symlinkat", name.description, in: raw) {
                name.withCString { ck_symlinkat(cTarget, raw, $0) }
            }
        } catch let error where error.errno == .fileNameTooLong && target.count < Int(PATH_MAX) {
            throw SyscallFailure(
                error.call, path: error.path, errno: error.errno, cause: .longTarget(target.count))
        }
    }

    package func makeNode(_ name: FileName, _ kind: FileStatus.Kind, mode: UInt32) throws(SyscallFailure) {
        let (type, device): (mode_t, DeviceNumber) =
            switch kind {
            case .character(let device): (Glibc.S_IFCHR, device)
            case .block(let device): (Glibc.S_IFBLK, device)
            case .fifo: (Glibc.S_IFIFO, DeviceNumber(major: 0, minor: 0))
            case .socket: (Glibc.S_IFSOCK, DeviceNumber(major: 0, minor: 0))
            // The kernel makes no directory and no symlink this way (mknod(2), EPERM and EINVAL).
            case .regular: (Glibc.S_IFREG, DeviceNumber(major: 0, minor: 0))
            case .directory: (Glibc.S_IFDIR, DeviceNumber(major: 0, minor: 0))
            case .symlink: (Glibc.S_IFLNK, DeviceNumber(major: 0, minor: 0))
            }
        try syscall("mknodat", name.description, in: raw) {
            name.withCString { ck_mknodat(raw, $0, UInt32(type) | mode, device.major, device.minor) }
        }
    }

    /// Makes a hard link. A symlink is linked itself.
    package func link(
        _ target: FileName, of source: Directory, as name: FileName
    ) throws(SyscallFailure) {
        try syscall("linkat", name.description, in: raw) {
            target.withCString { from in name.withCString { to in ck_linkat(source.raw, from, raw, to) } }
        }
    }

    package func removeFile(_ name: FileName) throws(SyscallFailure) {
        try syscall("unlinkat", name.description) { name.withCString { ck_unlinkat(raw, $0, 0) } }
    }

    package func removeEmptyDirectory(_ name: FileName) throws(SyscallFailure) {
        try syscall("unlinkat", name.description) { name.withCString { ck_unlinkat(raw, $0, AT_REMOVEDIR) } }
    }

    // MARK: Metadata

    /// Sets owner, extended attributes, mode and times to those of another directory, and removes other file
    /// attributes. Attributes of overlayfs and of the kernel are neither copied nor removed.
    ///
    /// - Parameter status: status of `other`, which may have changed since.
    /// - Throws: `SyscallFailure`; `FileMismatch` as `setExactMode`.
    package func takeMetadata(of other: Directory, _ status: FileStatus) throws {
        try file.removeFileAttributes()
        try file.setOwner(uid: status.uid, gid: status.gid)
        for (name, value) in try other.file.fileAttributes() where !name.isOverlayMark {
            try file.setExtendedAttribute(name, value)
        }
        try file.setExactMode(status.mode)
        try file.setTimes(access: status.accessTime, modification: status.modificationTime)
    }

    // MARK: Metadata of an entry, symlinks not followed

    package func setOwner(of name: FileName, uid: UInt32, gid: UInt32) throws(SyscallFailure) {
        try syscall("fchownat", name.description) { name.withCString { ck_fchownat(raw, $0, uid, gid) } }
    }

    package func setTimes(
        of name: FileName, access: Timestamp, modification: Timestamp
    ) throws(SyscallFailure) {
        let times = [access.timespec, modification.timespec]
        try syscall("utimensat", name.description) { name.withCString { ck_utimensat(raw, $0, times) } }
    }

    /// Sets the mode of an entry that is not a symlink, through a descriptor because fchmodat(2) follows symlinks.
    package func setMode(of name: FileName, _ mode: UInt32) throws(SyscallFailure) {
        _ = try changeMode(of: name, mode)
    }

    /// Sets the mode as `setMode`, and verifies it as `File.setExactMode`.
    package func setExactMode(of name: FileName, _ mode: UInt32) throws {
        try changeMode(of: name, mode).checkSpecialBits(mode, "chmod '\(name)'")
    }

    /// - Returns: an O_PATH descriptor of the entry.
    private func changeMode(of name: FileName, _ mode: UInt32) throws(SyscallFailure) -> File {
        let path = try openDescriptor(name, pathOnly | O_NOFOLLOW)
        try syscall("chmod", name.description) { ck_chmod("/proc/self/fd/\(path.raw)", mode) }
        return path
    }

    package func setExtendedAttribute(
        _ attribute: AttributeName, _ value: [UInt8], of name: FileName
    ) throws(SyscallFailure) {
        let path = procPath(name)
        try syscall("lsetxattr", "\(name): \(attribute)", in: raw, attribute: value.count) {
            attribute.withCString { ck_lsetxattr(path, $0, value, value.count) }
        }
    }

    package func extendedAttribute(
        _ attribute: AttributeName, of name: FileName
    ) throws(SyscallFailure) -> [UInt8]? {
        let path = procPath(name)
        return try readExtendedAttribute("lgetxattr", attribute) { ck_lgetxattr(path, $0, $1, $2) }
    }

    package func extendedAttributeNames(of name: FileName) throws(SyscallFailure) -> [AttributeName] {
        let path = procPath(name)
        return try listExtendedAttributes("llistxattr") { ck_llistxattr(path, $0, $1) }
    }

    /// Path of an entry through /proc/self/fd: the only way to anchor lsetxattr(2) and its variants at a descriptor
    /// before setxattrat(2) (kernel 6.13).
    private func procPath(_ name: FileName) -> [CChar] {
        Array("/proc/self/fd/\(raw)/".utf8CString.dropLast()) + name.bytes.map(CChar.init(bitPattern:)) + [0]
    }
}

/// The names in a directory without `.` and `..`, one by one, in the order of the file system.
struct NameStream: ~Copyable {
    private let file: File
    private var records = DirectoryRecords()

    init(of directory: Directory) throws(SyscallFailure) {
        // Opens the directory anew: duplicates of a descriptor share one position.
        let raw = directory.file.raw
        file = File(adopting: try syscall("openat", ".") { ck_openat(raw, ".", O_RDONLY | O_DIRECTORY, 0) })
    }

    /// - Returns: nil after the last name.
    mutating func next() throws(SyscallFailure) -> FileName? { try nextRecord()?.name }

    /// - Returns: a name, and whether it is a directory if the file system records that; nil after the last name.
    mutating func nextRecord() throws(SyscallFailure) -> (name: FileName, isDirectory: Bool?)? {
        while true {
            if let record = records.next() { return record }
            if try !records.read(from: file) { return nil }
        }
    }
}

extension Directory {
    /// Whether the file system records the types of this directory's entries (readdir(3), `d_type`). Overlayfs detects
    /// whiteouts by type while listing; without types it lists each whiteout as a file that cannot be looked up
    /// (kernel: `ovl_check_d_type_supported`).
    ///
    /// - Precondition: the directory has entries.
    package func recordsTypes() throws(SyscallFailure) -> Bool {
        var stream = try NameStream(of: self)
        while let record = try stream.nextRecord() {
            if record.isDirectory == nil { return false }
        }
        return true
    }
}

/// O_PATH, which the Glibc module hides. The value is the same on every Linux architecture except alpha, parisc and
/// sparc.
let pathOnly: CInt = 0o10000000

// MARK: Making directories

extension Directory {
    /// Opens a directory; it and its missing parents are made first.
    ///
    /// - Parameters:
    ///   - mode: of the last component.
    ///   - parents: mode of the directories above it.
    /// - Throws: ENOTDIR if the last component is a symlink; symlinks above it are followed.
    package static func makingPath(
        _ path: FilePath, mode: UInt32, parents: UInt32 = 0o755
    ) throws(SyscallFailure) -> Directory {
        // Iterates over bytes, without recursion: a path may have 2,047 components, all of them missing.
        let bytes = path.bytes
        let components = bytes.split(separator: UInt8(ascii: "/"))
        var existing = components.count
        while true {
            let end = existing > 0 ? components[existing - 1].endIndex : path.isAbsolute ? 1 : 0
            let isWhole = existing == components.count
            var directory: Directory
            do {
                directory = Directory(
                    adopting: try File.open(
                        end > 0 ? FilePath(bytes[..<end]) : ".",
                        isWhole ? .directoryNotFollowing : .directory))
            } catch let error where error.isMissing && existing > 0 {
                existing -= 1
                continue
            }
            for index in existing..<components.count {
                directory = try directory.ensureDirectory(
                    FileName(component: components[index]),
                    mode: index == components.count - 1 ? mode : parents)
            }
            return directory
        }
    }

    /// Opens a subdirectory, which is made if it is missing.
    package func ensureDirectory(_ literal: String, mode: UInt32 = 0o700) throws(SyscallFailure) -> Directory
    {
        try ensureDirectory(FileName(literal: literal), mode: mode)
    }

    private func ensureDirectory(_ name: FileName, mode: UInt32) throws(SyscallFailure) -> Directory {
        do {
            try makeDirectory(name, mode: mode)
        } catch let error where error.isExistingFile {
            // Made earlier, or by another process meanwhile.
        }
        return try open(name)
    }
}
