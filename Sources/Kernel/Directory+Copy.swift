internal import CKernel
internal import Glibc
internal import SystemPackage

extension Directory {
    /// Copies a file that is not a directory to another directory, without its metadata: the content of a regular file,
    /// the target of a symlink, the type and device number of a node.
    ///
    /// - Parameters:
    ///   - mode: permission bits of the new file.
    ///   - check: called while content is copied; an error that it throws ends the work.
    /// - Returns: the copy of a regular file, open for writing; nil for other types.
    /// - Throws: `SyscallFailure`, EEXIST if the new name exists; `FileMismatch` if the file was replaced; errors of
    ///   `check`.
    /// - Precondition: the file is not a directory.
    package func copyFile(
        _ name: FileName, _ status: FileStatus, as newName: FileName, in target: Directory, mode: UInt32,
        check: () throws -> Void = {}
    ) throws -> File? {
        switch status.kind {
        case .regular:
            let copy = try target.makeFile(newName, mode: mode)
            try copy.copyContent(of: try openFile(name, expecting: status), check: check)
            return copy
        case .symlink: try target.makeSymlink(newName, target: try readLink(name))
        case .fifo, .socket, .character, .block: try target.makeNode(newName, status.kind, mode: mode)
        case .directory: throw InternalError("a directory is copied as a file: '\(name)'")
        }
        return nil
    }

    /// Copies the tree below this directory, and this directory's own metadata, to an empty directory.
    ///
    /// Copied are contents with their holes (sharing blocks if the file system can, ioctl_ficlone(2)), hard links
    /// within the tree, symlinks, FIFOs, sockets and devices, owners, modes, times to the nanosecond, and extended
    /// attributes including those of overlayfs. Not copied are attributes that belong to the kernel
    /// (`AttributeName.belongsToFile`), inode flags (chattr(1)) and birth times.
    ///
    /// The tree should not change during the copy: a new file may be missing in the copy, and a removed or moved one
    /// may end it with ENOENT or `FileMismatch`. Changes never make the copy leave the tree.
    ///
    /// It takes a constant number of descriptors, and memory for the names of pending directories and for incomplete
    /// groups of hard links. Each such group has one extra link in the target until its last link is made; the link
    /// count never exceeds the one in the source.
    ///
    /// - Parameter check: called for each file, and while content is copied; an error that it throws ends the work.
    /// - Throws: the error of any call. The target keeps what was copied until then, with mode 0700 for incomplete
    ///   directories.
    package func copyContents(to target: Directory, check: () throws -> Void = {}) throws {
        var copy = try TreeCopy(from: self, to: target)
        try copy.run(check)
    }
}

/// A walk through a tree, down by name and up by `..`, so that neither the path length nor the number of descriptors
/// limits its depth.
private struct TreeCopy {
    /// A directory between the root and the current position of the walk.
    private struct Level {
        let status: FileStatus
        /// Identity of the copy, checked when the walk returns to it through `..`.
        let copy: FileStatus.Identity
        /// Subdirectories that are still to be copied.
        var pending: [FileName]
    }

    /// Current directory of the walk, in either tree.
    private var source: Directory
    private var target: Directory
    private var levels = [Level]()
    private var links: LinkGroups

    init(from source: Directory, to target: Directory) throws(SyscallFailure) {
        self.source = source
        self.target = target
        links = LinkGroups(root: target)
        // New entries would inherit what the target has inherited from its own parent: a group (inode(7), S_ISGID) and
        // an ACL (acl(5)).
        try target.file.removeFileAttributes(keepingOverlayMarks: false)
        try target.file.setMode(0o700)
    }

    mutating func run(_ check: () throws -> Void) throws {
        try copyFiles(check)
        while let level = levels.last {
            if let name = level.pending.last {
                levels[levels.count - 1].pending.removeLast()
                try target.makeDirectory(name, mode: 0o700)
                target = try target.open(name)
                source = try source.open(name)
                try copyFiles(check)
                continue
            }
            levels.removeLast()
            let finished = (source: source, target: target)
            if let above = levels.last {
                source = try source.parent(above.status.identity)
                target = try target.parent(above.copy)
            } else {
                try links.close()
            }
            // Metadata is set after the last entry is made: making an entry changes the times.
            try finished.target.takeExactMetadata(of: finished.source, level.status)
        }
    }

    /// Copies the files of the current directory, and pushes a level with its subdirectories.
    private mutating func copyFiles(_ check: () throws -> Void) throws {
        // The status comes before the names: listing may change the access time.
        var level = Level(
            status: try source.file.status(), copy: try target.file.status().identity, pending: [])
        var names = try NameStream(of: source)
        while let name = try names.next() {
            try check()
            // Removed since the directory was listed.
            guard let status = try source.status(of: name) else { continue }
            if status.isDirectory {
                level.pending.append(name)
            } else if status.linkCount < 2 {
                try copyFile(name, status, check)
            } else if try !links.link(status, as: name, in: target) {
                try copyFile(name, status, check)
                try links.add(status, name, of: target)
            }
        }
        levels.append(level)
    }

    private func copyFile(
        _ name: FileName, _ status: FileStatus, _ check: () throws -> Void
    ) throws {
        // The order follows from side effects of the kernel: chown clears setuid and capabilities (chown(2),
        // capabilities(7)), an ACL changes the mode, and every call changes the times.
        if let copy = try source.copyFile(
            name, status, as: name, in: target, mode: 0o600, check: check)
        {
            try copy.setOwner(uid: status.uid, gid: status.gid)
            for (attribute, value) in try source.fileAttributes(of: name) {
                try copy.setExtendedAttribute(attribute, value)
            }
            try copy.setExactMode(status.mode)
            try copy.setTimes(access: status.accessTime, modification: status.modificationTime)
            return try copy.close()
        }
        try target.setOwner(of: name, uid: status.uid, gid: status.gid)
        for (attribute, value) in try source.fileAttributes(of: name) {
            try target.setExtendedAttribute(attribute, value, of: name)
        }
        if status.kind != .symlink { try target.setExactMode(of: name, status.mode) }
        try target.setTimes(of: name, access: status.accessTime, modification: status.modificationTime)
    }
}

/// Groups of hard links of which some are not made yet. Each group keeps one extra link in a helper directory until
/// then, because the path of the first link may be longer than PATH_MAX.
private struct LinkGroups {
    private let root: Directory
    private let name = FileName(literal: ".links-\(UInt64.random(in: .min ... .max))")
    /// The helper directory; made for the first group.
    private var directory: Directory?
    /// Number of links per file that are still to be made.
    private var missing = [FileStatus.Identity: UInt64]()

    init(root: Directory) { self.root = root }

    /// Starts a group: records a file whose first link was just made.
    mutating func add(
        _ status: FileStatus, _ name: FileName, of target: Directory
    ) throws(SyscallFailure) {
        if directory == nil { directory = try root.ensureDirectory(self.name.description) }
        try directory?.link(name, of: target, as: Self.name(status))
        missing[status.identity] = status.linkCount - 1
    }

    /// Makes the next link of a recorded file.
    ///
    /// - Returns: false if the file is not recorded.
    mutating func link(
        _ status: FileStatus, as name: FileName, in target: Directory
    ) throws(SyscallFailure) -> Bool {
        guard let count = missing[status.identity], let directory else { return false }
        if count > 1 {
            try target.link(Self.name(status), of: directory, as: name)
            missing[status.identity] = count - 1
        } else {
            try directory.rename(Self.name(status), to: name, in: target)
            missing[status.identity] = nil
        }
        return true
    }

    /// Removes the helper directory, including the links of files that have more links outside the tree.
    func close() throws(SyscallFailure) { if directory != nil { try root.removeTree(name) } }

    private static func name(_ status: FileStatus) -> FileName {
        FileName(literal: "\(status.identity.device)-\(status.identity.inode)")
    }
}

extension Directory {
    /// Opens the parent directory.
    ///
    /// - Throws: `SyscallFailure`; `FileMismatch` if it is not the expected one.
    fileprivate func parent(_ expected: FileStatus.Identity) throws -> Directory {
        let descriptor = try syscall("openat", "..") {
            ck_openat(file.raw, "..", O_RDONLY | O_DIRECTORY, 0)
        }
        let parent = Directory(adopting: File(adopting: descriptor))
        guard try parent.file.status().identity == expected else {
            throw FileMismatch.replaced(path: "..")
        }
        return parent
    }

    /// Sets owner, file attributes, mode and times to those of another directory.
    ///
    /// - Precondition: this directory has no file attributes.
    fileprivate func takeExactMetadata(of other: Directory, _ status: FileStatus) throws {
        try file.setOwner(uid: status.uid, gid: status.gid)
        for (name, value) in try other.file.fileAttributes() { try file.setExtendedAttribute(name, value) }
        try file.setExactMode(status.mode)
        try file.setTimes(access: status.accessTime, modification: status.modificationTime)
    }
}
