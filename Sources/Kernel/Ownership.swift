internal import CKernel
internal import Glibc
package import SystemPackage

/// Why the content of a file or directory cannot be trusted: another user made it, or can change or replace it.
package enum OwnershipFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// `path` is escaped for a terminal; `owner` is a user ID.
    case otherOwner(path: String, owner: UInt32)
    /// Group or others have write permission; for a file with an access ACL, this includes users and groups that the
    /// ACL names.
    case writableByOthers(path: String, mode: UInt32)
    /// A symbolic link of another user, or one that is not followed at this path.
    case symlink(path: String)
    /// A file with more than one hard link: it may come from a directory where its content has another purpose.
    case hardLink(path: String)
    case wrongType(path: String, expected: String)
    /// More symbolic links lead on from the path than the kernel follows (path_resolution(7)).
    case tooManyLinks(path: String)
    /// The directory did not become the effective user's, although no call has failed.
    case mismatch(FileMismatch)
    /// A defect of this program.
    case bug(String)
    case system(SyscallFailure)

    package var description: String {
        switch self {
        case .otherOwner(let path, let owner):
            "'\(path)' belongs to another user (uid \(owner)), who can change what is in it"
        case .writableByOthers(let path, let mode):
            "'\(path)' can be changed by other users (mode \(String(mode, radix: 8)))"
        case .symlink(let path): "'\(path)' is a symbolic link that another user may have made"
        case .hardLink(let path): "'\(path)' has another name (hard link), which another user may have made"
        case .wrongType(let path, let expected): "'\(path)' is not \(expected)"
        case .tooManyLinks(let path): "'\(path)' leads to too many symbolic links"
        case .mismatch(let mismatch): mismatch.description
        case .bug(let reason): reason
        case .system(let failure): failure.description
        }
    }

    /// How to resolve the failure; nil if `cause` is enough to tell.
    package var hint: String? {
        switch self {
        case .otherOwner, .symlink, .hardLink:
            "use another path, or remove it if nothing in it is needed"
        case .writableByOthers:
            "use another path, or run 'chmod go-w' on it if no other user has written to it"
        case .wrongType(_, let expected): "name \(expected)"
        case .tooManyLinks: "correct the symbolic links of the path: they form a loop"
        case .mismatch, .bug, .system: nil
        }
    }

    /// Converts an error of `takeExclusiveAccess`.
    package init(_ error: any Error) {
        switch error {
        case let failure as OwnershipFailure: self = failure
        case let failure as SyscallFailure: self = .system(failure)
        case let mismatch as FileMismatch: self = .mismatch(mismatch)
        default: self = .bug("\(error)")
        }
    }

    /// Whether the process may lack a privilege.
    package var isPermission: Bool {
        switch self {
        case .otherOwner, .writableByOthers, .symlink, .hardLink: true
        case .wrongType, .tooManyLinks, .bug: false
        case .mismatch(let mismatch):
            if case .notKept(_, _, let isRefusal) = mismatch { isRefusal } else { false }
        case .system(let failure): failure.isPermission
        }
    }
}

/// Decides for all modules whether a file or directory of the host can be trusted.
///
/// **Rule.** What the program trusts or continues (the store, a bundle's `config.json`, lock files, sockets) is owned
/// by the effective user, has the expected type, is not a symbolic link, and no other user can write to it. An access
/// ACL that grants write permission to others shows in the group bits of the mode (acl(5), "CORRESPONDENCE BETWEEN ACL
/// ENTRIES AND FILE PERMISSION BITS").
///
/// The directories above are the choice of the caller: one in which another user can rename entries is accepted and
/// reported (`FilePath.exposedAncestors`).
package enum Ownership {
    package enum FileType: Sendable {
        case directory, regular

        fileprivate var description: String { self == .directory ? "a directory" : "a regular file" }
    }

    /// Checks a status against the rule.
    ///
    /// - Parameter path: path in the failure.
    package static func check(
        _ status: FileStatus, is type: FileType, at path: FilePath
    ) throws(OwnershipFailure) {
        let path = escaped(path)
        if status.kind == .symlink { throw .symlink(path: path) }
        guard isOwn(status.uid) else { throw .otherOwner(path: path, owner: status.uid) }
        guard status.kind == (type == .directory ? .directory : .regular) else {
            throw .wrongType(path: path, expected: type.description)
        }
        guard status.mode & Self.writeByOthers == 0 else {
            throw .writableByOthers(path: path, mode: status.mode)
        }
        // Without fs.protected_hardlinks another user can make a hard link to any file.
        if type == .regular, status.linkCount > 1 { throw .hardLink(path: path) }
    }

    /// Whether a user ID is the effective user's. If the effective user has no ID in this user namespace, no file is:
    /// all users without an ID look alike (user_namespaces(7), "Unmapped user and group IDs").
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

    /// Whether no user other than root and the effective user can rename or replace the entries that these two own in a
    /// directory.
    fileprivate static func protectsEntries(_ directory: FileStatus) -> Bool {
        guard isTrusted(directory.uid) else { return false }
        // With an access ACL, the group bits include the users and groups that it names.
        return directory.isSticky || directory.mode & writeByOthers == 0
    }

    /// Whether a user ID is root or the effective user.
    fileprivate static func isTrusted(_ uid: UInt32) -> Bool { uid == 0 || isOwn(uid) }

    /// Checks that no other user can replace a file with a known name in a directory such as `/run` or `/tmp`, where it
    /// is made, locked and removed.
    static func check(folder path: FilePath) throws(OwnershipFailure) {
        let status = try attempting { () throws(SyscallFailure) in try File.status(of: path) }
        guard status.isDirectory else {
            throw .wrongType(path: escaped(path), expected: FileType.directory.description)
        }
        guard isTrusted(status.uid) else { throw .otherOwner(path: escaped(path), owner: status.uid) }
        guard protectsEntries(status) else { throw .writableByOthers(path: escaped(path), mode: status.mode) }
    }

    /// Runs system calls, and wraps their failures in `.system`.
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
    /// Opens a directory that the effective user owns and no other user can write to. If it is missing, it is made with
    /// mode 0700, and the directories above it as in `makingPath`.
    ///
    /// - Parameter path: a symbolic link as the last component is not followed.
    package static func openingOwn(_ path: FilePath) throws(OwnershipFailure) -> Directory {
        if let status = try? File.statusNotFollowing(path) {
            try Ownership.check(status, is: .directory, at: path)
        }
        let directory = try Ownership.attempting { () throws(SyscallFailure) in
            try makingPath(path, mode: 0o700)
        }
        try directory.checkOwnership(path)
        return directory
    }

    /// Opens a subdirectory as `openingOwn` does.
    ///
    /// - Parameter path: path of this directory, for the failure.
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

    /// Why this directory cannot be trusted; nil if it meets the rule of `Ownership`.
    ///
    /// - Parameter path: path in the failure.
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

    /// Checks that the effective user owns a regular file and no other user can write to it.
    ///
    /// The check uses an O_PATH descriptor. Closing any other descriptor of a database file would release the locks
    /// that SQLite holds in this process (fcntl(2), "Advisory record locking").
    ///
    /// - Parameters:
    ///   - path: path of this directory, for the failure.
    ///   - mode: permissions that the file gets if its own differ; nil keeps them.
    /// - Returns: false if the file is missing.
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

    /// Opens a regular file for reading and writing if `checkOwnFile` accepts it; makes it with mode 0600 if it is
    /// missing.
    package func openOrCreateOwnFile(
        _ name: FileName, in path: FilePath
    ) throws(OwnershipFailure) -> File {
        // The check comes first: opening a special file may have side effects.
        try checkOwnFile(name, in: path)
        let file = try Ownership.attempting { () throws(SyscallFailure) in
            try openOrCreateFile(name, mode: 0o600)
        }
        let status = try Ownership.attempting { () throws(SyscallFailure) in try file.status() }
        try Ownership.check(status, is: .regular, at: path.appending(name.description))
        return file
    }

    // MARK: Exclusive access

    /// Owner, mode, ACLs and inherited settings of a directory, as they were before `takeExclusiveAccess`.
    package struct Access: Sendable {
        fileprivate let status: FileStatus
        fileprivate let lists: [(name: AttributeName, value: [UInt8])]
        fileprivate let settings: InodeSettings
    }

    /// Gives the effective user exclusive access to this directory. Other users can no longer make, rename or list
    /// entries, even through descriptors opened before, and new entries inherit no group, ACL, project or flags.
    ///
    /// Owner and group become those of the process, the mode 0700; access and default ACL and the inherited settings
    /// are removed. The owner changes first: the previous one could revert the other changes, or add an ACL after they
    /// were listed.
    ///
    /// - Returns: the previous state, for `restore`.
    /// - Throws: `SyscallFailure`, EPERM for a directory of another user without CAP_CHOWN; `FileMismatch` on a file
    ///   system that does not store owners, modes or settings.
    @discardableResult
    package func takeExclusiveAccess() throws -> Access {
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
        guard now.uid == uid, now.gid == gid else {
            throw FileMismatch.owner((uid, gid), became: now, isRefusal: true)
        }
        guard now.mode == 0o700 else {
            throw FileMismatch.mode(0o700, became: now.mode, "fchmod", isRefusal: false)
        }
        return Access(status: status, lists: lists, settings: settings)
    }

    /// Restores the state from before `takeExclusiveAccess`.
    package func restore(_ access: Access) throws {
        // The mode comes after the ACLs: its group bits are their mask.
        for (name, value) in access.lists { try file.setExtendedAttribute(name, value) }
        try file.set(access.settings)
        try file.setExactMode(access.status.mode)
        try file.setOwner(uid: access.status.uid, gid: access.status.gid)
    }

    /// Whether this directory has inherited, or its entries would inherit, what no layer specifies: a group, a default
    /// ACL, flags or a project. A directory that mkdir(2) made in a directory after `takeExclusiveAccess` has none of
    /// them.
    package func hasInheritedSettings() throws(SyscallFailure) -> Bool {
        let status = try file.status()
        if status.mode & 0o2000 != 0 || ![0, Process.effectiveGroupID].contains(status.gid) { return true }
        if try file.extendedAttribute(.defaultAccessControl) != nil { return true }
        return try file.settings().inherited != nil
    }
}

extension FilePath {
    /// Follows symbolic links in the last component that the effective user owns. Links of other users are refused, as
    /// `fs.protected_symlinks` does in sticky directories (proc(5)), but in every directory and regardless of that
    /// setting.
    ///
    /// - Returns: a path whose last component is not a symbolic link, or is missing.
    /// - Throws: `.symlink`; `.tooManyLinks` after 40 links (path_resolution(7)); `.system`.
    package func resolvingOwnSymlinks() throws(OwnershipFailure) -> FilePath {
        var path = self
        for _ in 0..<40 {
            guard let status = try? File.statusNotFollowing(path), status.kind == .symlink else {
                return path
            }
            guard Ownership.isOwn(status.uid) else { throw .symlink(path: escaped(path)) }
            path = try Ownership.attempting { [path] () throws(SyscallFailure) in
                try path.removingLastComponent().pushing(try path.linkTarget()).absoluteNotFollowing()
            }
        }
        throw .tooManyLinks(path: escaped(self))
    }

    private func linkTarget() throws(SyscallFailure) -> FilePath {
        // A target has at most PATH_MAX - 1 bytes (symlink(7)), so that a NUL follows it in the buffer.
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        try syscall("readlinkat", escaped(self)) {
            withPlatformString { ck_readlinkat(AT_FDCWD, $0, &buffer, buffer.count - 1) }
        }
        return FilePath(platformString: buffer)
    }

    /// Directories above this path in which another user could replace the next component, topmost first.
    ///
    /// A sticky directory of a trusted user is one only if the next component belongs to an untrusted user (unlink(2),
    /// EPERM).
    ///
    /// - Precondition: the path is absolute and resolved.
    package func exposedAncestors() -> [FilePath] {
        var exposed = [FilePath]()
        var path = self
        var below = try? File.statusNotFollowing(path)
        while path.removeLastComponent() {
            guard let status = try? File.statusNotFollowing(path) else { continue }
            let isOwn = below.map { Ownership.isTrusted($0.uid) } ?? true
            let isSticky = status.isSticky
            if !Ownership.protectsEntries(status) || isSticky && !isOwn { exposed.append(path) }
            below = status
        }
        return exposed.reversed()
    }
}
