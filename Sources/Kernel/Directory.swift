internal import CKernel
internal import Glibc
package import SystemPackage

/// An open directory: everything that happens below it is anchored at its descriptor.
///
/// Names are single components and a last symlink is never followed, so no call here can leave the directory.
/// Every call throws `SyscallFailure` with the name it was about.
package final class Directory: Sendable {
    package let file: File
    private var raw: CInt { file.raw }

    package init(adopting file: consuming File) { self.file = file }

    /// Opens a directory by a path of the user's; symlinks are followed.
    package convenience init(opening path: FilePath) throws(SyscallFailure) {
        self.init(adopting: try File.open(path, .directory))
    }

    package func open(_ name: FileName) throws(SyscallFailure) -> Directory {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
        return Directory(adopting: try openDescriptor(name, flags))
    }

    /// Opens a regular file for reading.
    ///
    /// Its type is known before it is opened for reading: to open a device can already make it act, and to open a FIFO wait.
    ///
    /// - Parameter expected: what was found under the name before; nil if any file will do.
    /// - Throws: ELOOP for a symlink, EISDIR for a directory, ENXIO for anything else that is no regular file, ESTALE if it is
    ///   not the expected file any more.
    package func openFile(_ name: FileName, expecting expected: FileStatus? = nil) throws(SyscallFailure)
        -> File
    {
        let found = try openDescriptor(name, pathOnly | O_NOFOLLOW)
        let status = try found.status()
        let refusal: CInt? =
            switch status.kind {
            case .regular: expected.map { $0.identity == status.identity } ?? true ? nil : ESTALE
            case .symlink: ELOOP
            case .directory: EISDIR
            case .fifo, .socket, .character, .block: ENXIO
            }
        if let refusal { throw SyscallFailure("openat", path: name.description, code: refusal) }
        return try found.reopened(as: name.description)
    }

    /// A descriptor that only names what is there, a symlink itself included (open(2), O_PATH): nothing is opened. Nil if
    /// there is no such name.
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
        } catch let error where error.isTaken {
            return nil
        }
    }

    /// Opens a file for reading and writing, created with `mode` if missing.
    package func openOrCreateFile(_ name: FileName, mode: UInt32) throws(SyscallFailure) -> File {
        try openDescriptor(name, O_RDWR | O_CREAT | O_NOFOLLOW, mode: mode)
    }

    /// Opens a file for reading and writing; nil if there is none.
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

    /// Opens what a relative path below this directory leads to: symlinks are followed and may lead anywhere.
    ///
    /// - Returns: a file or directory that can be read; of anything else (a FIFO, a device, a socket) a descriptor that has a
    ///   status and no content, because to open it may make it act.
    package func openFollowing(_ path: FilePath) throws(SyscallFailure) -> File {
        let found = File(
            adopting: try syscall("openat", escaped(path)) {
                path.withPlatformString { ck_openat(raw, $0, pathOnly, 0) }
            })
        return try found.readableIfPlain(escaped(path))
    }

    /// As `openFollowing`, but of nothing outside this directory (openat2(2), RESOLVE_BENEATH).
    package func openBeneath(_ path: FilePath) throws(SyscallFailure) -> File {
        let beneath: UInt64 = 0x08
        let found = File(
            adopting: try syscall("openat2", escaped(path)) {
                path.withPlatformString { ck_openat2(raw, $0, pathOnly, beneath) }
            })
        return try found.readableIfPlain(escaped(path))
    }

    /// Nil where there is no such name.
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

    /// All names but `.` and `..`, or some of them, in the file system's order.
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

    /// - Parameter target: stored as it is, never resolved.
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
            case .regular, .directory, .symlink:
                throw SyscallFailure("mknodat", path: "\(name)", errno: .invalidArgument)
            }
        try syscall("mknodat", name.description, in: raw) {
            name.withCString { ck_mknodat(raw, $0, UInt32(type) | mode, device.major, device.minor) }
        }
    }

    /// Gives a file a second name. A symlink is linked itself, not what it points to.
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

    /// - Parameter target: another directory of the same file system; nil is this one.
    package func rename(
        _ name: FileName, to newName: FileName, in target: Directory? = nil
    ) throws(SyscallFailure) {
        let there = target?.raw ?? raw
        try syscall("renameat2", name.description, in: raw) {
            name.withCString { from in newName.withCString { to in ck_renameat2(raw, from, there, to, 0) } }
        }
    }

    /// Moves a name to another directory that does not have it (renameat2(2), RENAME_NOREPLACE).
    ///
    /// - Throws: EEXIST where it has.
    package func renameToNew(_ name: FileName, in target: Directory) throws(SyscallFailure) {
        let there = target.raw
        try syscall("renameat2", name.description, in: raw) {
            name.withCString { ck_renameat2(raw, $0, there, $0, ck_rename_noreplace) }
        }
    }

    /// Exchanges what two names of this directory stand for, in one step (renameat2(2), RENAME_EXCHANGE).
    ///
    /// - Throws: ENOENT unless both are there; EINVAL where the file system cannot.
    package func exchange(_ a: FileName, _ b: FileName) throws(SyscallFailure) {
        try syscall("renameat2", a.description) {
            a.withCString { from in
                b.withCString { to in ck_renameat2(raw, from, raw, to, ck_rename_exchange) }
            }
        }
    }

    // MARK: Metadata

    /// Gives this directory another's owner, extended attributes, mode and times, and no other attributes. Overlay's
    /// own are left out, and so are the kernel's.
    ///
    /// - Parameter status: the other one's, perhaps from before it was changed.
    package func takeMetadata(of other: Directory, _ status: FileStatus) throws(SyscallFailure) {
        try file.removeFileAttributes()
        try file.setOwner(uid: status.uid, gid: status.gid)
        for (name, value) in try other.file.fileAttributes() where !name.isOverlays {
            try file.setExtendedAttribute(name, value)
        }
        try file.setMode(status.mode)
        try file.setTimes(access: status.accessTime, modification: status.modificationTime)
    }

    // MARK: Metadata of a name, not followed

    package func setOwner(of name: FileName, uid: UInt32, gid: UInt32) throws(SyscallFailure) {
        try syscall("fchownat", name.description) { name.withCString { ck_fchownat(raw, $0, uid, gid) } }
    }

    package func setTimes(
        of name: FileName, access: Timestamp, modification: Timestamp
    ) throws(SyscallFailure) {
        let times = [access.timespec, modification.timespec]
        try syscall("utimensat", name.description) { name.withCString { ck_utimensat(raw, $0, times) } }
    }

    /// Sets the mode of anything but a symlink. Through a descriptor, because fchmodat(2) would follow one.
    ///
    /// - Throws: also as `File.setMode`, if the kernel kept less.
    package func setMode(of name: FileName, _ mode: UInt32) throws(SyscallFailure) {
        let path = try openDescriptor(name, pathOnly | O_NOFOLLOW)
        try syscall("chmod", name.description) { ck_chmod("/proc/self/fd/\(path.raw)", mode) }
        try path.checkSpecialBits(mode, "chmod", name.description)
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

    /// The one form in which lsetxattr(2) and its kin are anchored at a descriptor before setxattrat(2),
    /// kernel 6.13.
    private func procPath(_ name: FileName) -> [CChar] {
        Array("/proc/self/fd/\(raw)/".utf8CString.dropLast()) + name.bytes.map(CChar.init(bitPattern:)) + [0]
    }
}

/// What a directory lists but `.` and `..`, one by one, in the file system's order.
struct NameStream: ~Copyable {
    private let file: File
    private var records = DirectoryRecords()

    init(of directory: Directory) throws(SyscallFailure) {
        // A descriptor of its own: duplicates share one position.
        let raw = directory.file.raw
        file = File(adopting: try syscall("openat", ".") { ck_openat(raw, ".", O_RDONLY | O_DIRECTORY, 0) })
    }

    /// - Returns: nil behind the last one.
    mutating func next() throws(SyscallFailure) -> FileName? { try nextRecord()?.name }

    /// - Returns: a name and whether it is a directory, if the file system records that; nil behind the last one.
    mutating func nextRecord() throws(SyscallFailure) -> (name: FileName, isDirectory: Bool?)? {
        while true {
            if let record = records.next() { return record }
            if try !records.read(from: file) { return nil }
        }
    }
}

extension Directory {
    /// Whether the file system records the types of this directory's entries (readdir(3), `d_type`). Overlay finds whiteouts by
    /// them: without, each shows as a file that cannot be looked up (kernel: `ovl_check_d_type_supported`).
    ///
    /// - Precondition: there are entries.
    package func recordsTypes() throws(SyscallFailure) -> Bool {
        var stream = try NameStream(of: self)
        while let record = try stream.nextRecord() {
            if record.isDirectory == nil { return false }
        }
        return true
    }
}

/// O_PATH, which the Glibc module hides; the same on every architecture of Linux but alpha, parisc and sparc.
let pathOnly: CInt = 0o10000000

// MARK: Folders of the program's own

extension Directory {
    /// Opens a directory, made with all its parents if it is missing; `mode` is for the last one.
    ///
    /// - Throws: ENOTDIR if the last component is a symlink; those above are followed.
    package static func makingAll(
        _ path: FilePath, mode: UInt32, parents: UInt32 = 0o755
    ) throws(SyscallFailure) -> Directory {
        // Bytes in a loop: a path may have 2,047 components, and all of them may be missing.
        let bytes = path.bytes
        let components = bytes.split(separator: UInt8(ascii: "/"))
        for existing in (0...components.count).reversed() {
            let end = existing > 0 ? components[existing - 1].endIndex : path.isAbsolute ? 1 : 0
            let isWhole = existing == components.count
            do {
                var directory = Directory(
                    adopting: try File.open(
                        end > 0 ? FilePath(bytes[..<end]) : ".", isWhole ? .directoryNotFollowing : .directory
                    ))
                for index in existing..<components.count {
                    directory = try directory.ensureDirectory(
                        FileName(component: components[index]),
                        mode: index == components.count - 1 ? mode : parents)
                }
                return directory
            } catch let error where error.isMissing {
                // Then the one above it.
            }
        }
        throw SyscallFailure("open", path: escaped(path), errno: .noSuchFileOrDirectory)
    }

    /// Opens a directory in this one, made if it is missing.
    package func ensureDirectory(_ literal: String, mode: UInt32 = 0o700) throws(SyscallFailure) -> Directory
    {
        try ensureDirectory(FileName(literal: literal), mode: mode)
    }

    private func ensureDirectory(_ name: FileName, mode: UInt32) throws(SyscallFailure) -> Directory {
        do {
            try makeDirectory(name, mode: mode)
        } catch let error where error.isTaken {
            // Made before, or by another process just now.
        }
        return try open(name)
    }
}
