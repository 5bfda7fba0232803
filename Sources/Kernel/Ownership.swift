internal import CKernel
internal import Glibc
package import SystemPackage

/// A file or directory that another user made, replaced or can change, so that its content proves nothing.
package enum OwnershipFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// `path` is escaped for a terminal; `owner` is a user ID.
    case foreignOwner(path: String, owner: UInt32)
    /// The group or everybody may write to it; of a file with an access ACL also a user or group named there.
    case writableByOthers(path: String, mode: UInt32)
    /// A symbolic link of another user, or one where none is followed.
    case symlink(path: String)
    /// A file that has another name, perhaps in a directory where its content meant something else.
    case hardLink(path: String)
    case wrongType(path: String, expected: String)
    case system(SyscallFailure)

    package var description: String {
        switch self {
        case .foreignOwner(let path, let owner):
            "'\(path)' belongs to another user (uid \(owner)), who can change what is in it"
        case .writableByOthers(let path, let mode):
            "'\(path)' can be changed by other users (mode \(String(mode, radix: 8)))"
        case .symlink(let path): "'\(path)' is a symbolic link that another user may have made"
        case .hardLink(let path): "'\(path)' has another name, under which another user may have found it"
        case .wrongType(let path, let expected): "'\(path)' is not \(expected)"
        case .system(let failure): failure.description
        }
    }

    /// What helps; nil where `cause` says it.
    package var hint: String? {
        switch self {
        case .foreignOwner, .symlink, .hardLink:
            "name another place, or remove it if nothing in it is needed"
        case .writableByOthers:
            "name another place, or run 'chmod go-w' on it if no other user has written to it"
        case .wrongType, .system: nil
        }
    }

    /// The system call that failed, if other users have nothing to do with it.
    package var cause: SyscallFailure? {
        switch self {
        case .system(let failure): failure
        case .wrongType(let path, let expected):
            SyscallFailure(
                "open", path: path,
                errno: expected == Ownership.FileType.directory.description ? .notDirectory : .isDirectory)
        default: nil
        }
    }
}

/// Decides, for the whole program, whether what it finds on the machine is its own.
///
/// **Rule.** What the program believes or continues (the store, a bundle's `config.json`, lock files, sockets) is owned by
/// the effective user, has the expected type, is no symbolic link, and no other user may write to it. An access ACL that lets
/// others write shows in the group bits of the mode (acl(5), "CORRESPONDENCE BETWEEN ACL ENTRIES AND FILE PERMISSION BITS").
///
/// The directories above are the caller's choice: one whose entries another user can rename is accepted and reported
/// (`FilePath.exposedAncestors`).
package enum Ownership {
    package enum FileType: Sendable {
        case directory, regular

        fileprivate var description: String { self == .directory ? "a directory" : "a regular file" }
    }

    /// - Parameters:
    ///   - path: named in the failure.
    package static func check(
        _ status: FileStatus, is type: FileType, at path: FilePath
    ) throws(OwnershipFailure) {
        let path = escaped(path)
        if status.kind == .symlink { throw .symlink(path: path) }
        guard isOwn(status.uid) else { throw .foreignOwner(path: path, owner: status.uid) }
        guard status.kind == (type == .directory ? .directory : .regular) else {
            throw .wrongType(path: path, expected: type.description)
        }
        guard status.mode & Self.writeByOthers == 0 else {
            throw .writableByOthers(path: path, mode: status.mode)
        }
        // Without fs.protected_hardlinks another user can give any file a second name.
        if type == .regular, status.linkCount > 1 { throw .hardLink(path: path) }
    }

    /// Whether a user ID is the effective user's. Where that has none in this user namespace, all users without one look alike
    /// (user_namespaces(7), "Unmapped user and group IDs"), and nothing is the user's own.
    fileprivate static func isOwn(_ uid: UInt32) -> Bool { uid == Process.effectiveUserID && hasMappedID }

    private static let hasMappedID: Bool = {
        let own = UInt64(Process.effectiveUserID)
        let map = (try? File.contents(of: "/proc/self/uid_map")) ?? []
        return String(decoding: map, as: UTF8.self).split(separator: "\n").contains { line in
            let numbers = line.split(separator: " ").compactMap { UInt64($0) }
            return numbers.count == 3 && own >= numbers[0] && own - numbers[0] < numbers[2]
        }
    }()

    /// `S_IWGRP | S_IWOTH`.
    private static let writeByOthers: UInt32 = 0o022

    /// Whether no other user but root can rename or replace the entries of a directory that belong to the effective user or
    /// to root.
    fileprivate static func keepsEntries(_ directory: FileStatus) -> Bool {
        guard isTrusted(directory.uid) else { return false }
        // Of the group or, with an access ACL, of users and groups that it names.
        return directory.isSticky || directory.mode & writeByOthers == 0
    }

    fileprivate static func isTrusted(_ uid: UInt32) -> Bool { uid == 0 || isOwn(uid) }

    /// Checks a directory in which a file of a known name is to be made, locked and removed again, e.g. `/run` or `/tmp`: no
    /// other user may replace that file.
    static func check(folder path: FilePath) throws(OwnershipFailure) {
        let status = try attempting { () throws(SyscallFailure) in try File.status(of: path) }
        guard status.isDirectory else {
            throw .system(SyscallFailure("open", path: escaped(path), errno: .notDirectory))
        }
        guard isTrusted(status.uid) else { throw .foreignOwner(path: escaped(path), owner: status.uid) }
        guard keepsEntries(status) else { throw .writableByOthers(path: escaped(path), mode: status.mode) }
    }

    /// Runs system calls, with their failures as `.system`.
    package static func attempting<Value: ~Copyable>(
        _ body: () throws(SyscallFailure) -> Value
    ) throws(OwnershipFailure) -> Value {
        do {
            return try body()
        } catch {
            throw .system(error)
        }
    }
}

extension Directory {
    /// Opens a directory of the effective user's that no other user may write to, made with mode 0700 if it is missing; the
    /// directories above it are made as `makingAll` makes them.
    ///
    /// - Parameter path: its last component is not followed if it is a symbolic link.
    package static func openingOwn(_ path: FilePath) throws(OwnershipFailure) -> Directory {
        if let status = try? File.statusNotFollowing(path) {
            try Ownership.check(status, is: .directory, at: path)
        }
        let directory = try Ownership.attempting { () throws(SyscallFailure) in
            try makingAll(path, mode: 0o700)
        }
        try directory.checkOwnership(path)
        return directory
    }

    /// As `openingOwn`, for a directory in this one.
    ///
    /// - Parameter path: of this directory, for the failure.
    package func ensureOwnDirectory(
        _ literal: String, in path: FilePath
    ) throws(OwnershipFailure) -> Directory {
        let name = FileName(literal: literal)
        let path = path.appending(literal)
        if let status = try Ownership.attempting({ () throws(SyscallFailure) in try status(of: name) }) {
            try Ownership.check(status, is: .directory, at: path)
        }
        let directory = try Ownership.attempting { () throws(SyscallFailure) in
            try ensureDirectory(literal)
        }
        try directory.checkOwnership(path)
        return directory
    }

    /// Why the content of this directory proves nothing; nil if the directory is the effective user's own.
    ///
    /// - Parameter path: for the failure.
    package func ownershipFailure(at path: FilePath) throws(SyscallFailure) -> OwnershipFailure? {
        let status = try file.status()
        do throws(OwnershipFailure) {
            try Ownership.check(status, is: .directory, at: path)
            return nil
        } catch {
            return error
        }
    }

    private func checkOwnership(_ path: FilePath) throws(OwnershipFailure) {
        let status = try Ownership.attempting { () throws(SyscallFailure) in try file.status() }
        try Ownership.check(status, is: .directory, at: path)
    }

    /// Checks that a regular file is the effective user's and no other user may write to it, without opening it: to close a
    /// descriptor of a database file would take the locks of SQLite from this process (fcntl(2), "Advisory record locking"),
    /// but for one of O_PATH.
    ///
    /// - Parameters:
    ///   - path: of this directory, for the failure.
    ///   - mode: the permissions that it gets if it has others; nil leaves them.
    /// - Returns: false if it is missing.
    @discardableResult
    package func checkOwnFile(
        _ name: FileName, in path: FilePath, mode: UInt32? = nil
    ) throws(OwnershipFailure) -> Bool {
        guard let found = try Ownership.attempting({ () throws(SyscallFailure) in try openForStatus(name) })
        else { return false }
        let status = try Ownership.attempting { () throws(SyscallFailure) in try found.status() }
        try Ownership.check(status, is: .regular, at: path.appending(name.description))
        if let mode, status.mode != mode {
            try Ownership.attempting { () throws(SyscallFailure) in
                _ = try syscall("chmod", name.description) { ck_chmod("/proc/self/fd/\(found.raw)", mode) }
            }
        }
        return true
    }

    /// Opens a regular file of the effective user's for reading and writing, made with mode 0600 if it is missing; otherwise as
    /// `checkOwnFile`.
    package func openOrCreateOwnFile(
        _ name: FileName, in path: FilePath
    ) throws(OwnershipFailure) -> File {
        // Its type first: nothing is opened that could act.
        try checkOwnFile(name, in: path)
        let file = try Ownership.attempting { () throws(SyscallFailure) in
            try openOrCreateFile(name, mode: 0o600)
        }
        let status = try Ownership.attempting { () throws(SyscallFailure) in try file.status() }
        try Ownership.check(status, is: .regular, at: path.appending(name.description))
        return file
    }

    // MARK: Taking over

    /// Who may use a directory and what is made in it inherits, as it was before `takeOver`.
    package struct Access: Sendable {
        fileprivate let status: FileStatus
        fileprivate let lists: [(name: AttributeName, value: [UInt8])]
        fileprivate let settings: InodeSettings
    }

    /// Makes this directory the effective user's alone. No other user can make, rename or see entries any more, not even by a
    /// descriptor that was opened before, and new entries inherit no group, no ACL, no project and no flags.
    ///
    /// Owner and group become the process's, the mode 0700, access and default ACL go, and so do the settings that new entries
    /// inherit. The owner comes first: the one before could change the rest back, or add an ACL after they were listed.
    ///
    /// - Returns: what it was, for `restore`.
    /// - Throws: EPERM for a directory of another user's without CAP_CHOWN, or on a file system without owners.
    @discardableResult
    package func takeOver() throws(SyscallFailure) -> Access {
        let status = try file.status()
        let (uid, gid) = (Process.effectiveUserID, Process.effectiveGroupID)
        if status.uid != uid || status.gid != gid { try file.setOwner(uid: uid, gid: gid) }
        if status.mode != 0o700 { try file.setMode(0o700) }
        let settings = try file.clearInheritedSettings()
        var lists = [(name: AttributeName, value: [UInt8])]()
        for name in [AttributeName.accessControl, .defaultAccessControl] {
            guard let value = try file.extendedAttribute(name) else { continue }
            lists.append((name, value))
            try file.removeExtendedAttribute(name)
        }
        let now = try file.status()
        guard now.uid == uid, now.gid == gid else { throw SyscallFailure("fchown", errno: .notPermitted) }
        guard now.mode == 0o700 else {
            throw SyscallFailure(
                "fchmod", path: "mode 700 became \(String(now.mode, radix: 8))", errno: .notSupported)
        }
        return Access(status: status, lists: lists, settings: settings)
    }

    /// Gives it back as it was before it was taken over.
    package func restore(_ access: Access) throws(SyscallFailure) {
        // The mode comes after the lists: it is their mask, too.
        for (name, value) in access.lists { try file.setExtendedAttribute(name, value) }
        try file.set(access.settings)
        try file.setMode(access.status.mode)
        try file.setOwner(uid: access.status.uid, gid: access.status.gid)
    }

    /// Whether entries of this directory would inherit, or whether it has inherited, what no layer said: a group, a default ACL,
    /// flags or a project. A directory that `mkdir(2)` made in one that was taken over has none of them.
    package func showsInheritance() throws(SyscallFailure) -> Bool {
        let status = try file.status()
        if status.mode & 0o2000 != 0 || ![0, Process.effectiveGroupID].contains(status.gid) { return true }
        if try file.extendedAttribute(.defaultAccessControl) != nil { return true }
        return try file.settings().inherited != nil
    }
}

extension FilePath {
    /// Follows symbolic links in the last component as long as the effective user owns them. Another user's is refused, as
    /// `fs.protected_symlinks` does in sticky directories (proc(5)), but everywhere and whatever that is set to.
    ///
    /// - Returns: a path whose last component is no symbolic link, as far as it exists.
    /// - Throws: `.symlink`; `.system` with ELOOP after 40 links (path_resolution(7)).
    package func followingOwnLinks() throws(OwnershipFailure) -> FilePath {
        var path = self
        for _ in 0..<40 {
            guard let status = try? File.statusNotFollowing(path), status.kind == .symlink else {
                return path
            }
            guard Ownership.isOwn(status.uid) else { throw .symlink(path: escaped(path)) }
            path = try Ownership.attempting { [path] () throws(SyscallFailure) in
                try path.removingLastComponent().pushing(try path.linkTarget()).absoluteName()
            }
        }
        throw .system(SyscallFailure("open", path: escaped(self), errno: .tooManySymbolicLinkLevels))
    }

    private func linkTarget() throws(SyscallFailure) -> FilePath {
        // A target has at most PATH_MAX - 1 bytes (symlink(7)): a NUL follows it.
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        try syscall("readlinkat", escaped(self)) {
            withPlatformString { ck_readlinkat(AT_FDCWD, $0, &buffer, buffer.count - 1) }
        }
        return FilePath(platformString: buffer)
    }

    /// Directories above this path in which another user could rename the next component and put something else in its place,
    /// topmost first.
    ///
    /// A sticky directory of root's is none of them, unless the next component belongs to another user (unlink(2), EPERM).
    ///
    /// - Precondition: absolute and resolved.
    package func exposedAncestors() -> [FilePath] {
        var exposed = [FilePath]()
        var path = self
        var below = try? File.statusNotFollowing(path)
        while path.removeLastComponent() {
            guard let status = try? File.statusNotFollowing(path) else { continue }
            let isOwn = below.map { Ownership.isTrusted($0.uid) } ?? true
            let isSticky = status.isSticky
            if !Ownership.keepsEntries(status) || isSticky && !isOwn { exposed.append(path) }
            below = status
        }
        return exposed.reversed()
    }
}
