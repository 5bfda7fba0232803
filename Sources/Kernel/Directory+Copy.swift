internal import CKernel
internal import Glibc
internal import SystemPackage

extension Directory {
    /// Makes a name in another directory what a name of this one is, without its metadata: content, target of the
    /// symlink, kind of the node.
    ///
    /// - Parameters:
    ///   - mode: permission bits that it is made with.
    ///   - isWanted: polled while content is copied; when it returns false, the call fails with ECANCELED.
    /// - Returns: the copy, open for writing, of a regular file; nil of anything else.
    /// - Throws: EEXIST where the name is taken, EISDIR for a directory.
    package func duplicate(
        _ name: FileName, _ status: FileStatus, as newName: FileName, in target: Directory, mode: UInt32,
        isWanted: () -> Bool = { true }
    ) throws(SyscallFailure) -> File? {
        switch status.kind {
        case .regular:
            guard let copy = try target.createFile(newName, mode: mode) else {
                throw SyscallFailure("openat", path: "\(newName)", errno: .fileExists)
            }
            try copy.copyContent(of: try openFile(name, expecting: status), isWanted: isWanted)
            return copy
        case .symlink: try target.makeSymlink(newName, target: try readLink(name))
        case .fifo, .socket, .character, .block: try target.makeNode(newName, status.kind, mode: mode)
        case .directory: throw SyscallFailure("openat", path: "\(name)", errno: .isDirectory)
        }
        return nil
    }

    /// Copies all that is in this directory to an empty one, and this directory's own metadata: contents with
    /// their holes, sharing blocks where the file system can (ioctl_ficlone(2)); hard links within the tree;
    /// symlinks, FIFOs, sockets and devices; owners, modes, times to the nanosecond and extended attributes,
    /// overlay's own among them. Left out are attributes that are the kernel's (`AttributeName.isFiles`), and what is no
    /// attribute: flags (chattr(1)) and birth times.
    ///
    /// Nobody should change the tree meanwhile: what is new may be missing in the copy, what goes or is moved may end it
    /// with ENOENT or ESTALE. The copy never leaves the tree, whatever is changed.
    ///
    /// It needs a handful of descriptors, and memory for the names of directories between here and the deepest one and
    /// for groups of hard links that are not complete. Each group's file has a second name in the target until
    /// its last link is made; no link is ever one more than there are in the source.
    ///
    /// - Throws: any call's error, and leaves in the target what was copied until then, with mode 0700 where a
    ///   directory is not complete.
    package func copyContents(
        to target: Directory, isWanted: () -> Bool = { true }
    ) throws(SyscallFailure) {
        var copy = try TreeCopy(from: self, to: target)
        try copy.run(isWanted)
    }
}

/// A walk through a tree, down by name and up by `..`, so that neither paths nor descriptors limit its depth.
private struct TreeCopy {
    /// A directory on the way from the root to where the walk is.
    private struct Level {
        let status: FileStatus
        /// The copy's, to find it again from below.
        let copy: FileStatus.Identity
        /// Directories in it that are still to be copied.
        var pending: [FileName]
    }

    /// Where the walk is, in either tree.
    private var source: Directory
    private var target: Directory
    private var levels = [Level]()
    private var links: LinkGroups

    init(from source: Directory, to target: Directory) throws(SyscallFailure) {
        self.source = source
        self.target = target
        links = LinkGroups(root: target)
        // What it has from its own parent would be inherited by all that is made in it: a group (inode(7), S_ISGID),
        // an access control list (acl(5)).
        try target.file.removeFileAttributes(keepsMarks: false)
        try target.file.setMode(0o700)
    }

    mutating func run(_ isWanted: () -> Bool) throws(SyscallFailure) {
        try copyFiles(isWanted)
        while let level = levels.last {
            if let name = level.pending.last {
                levels[levels.count - 1].pending.removeLast()
                try target.makeDirectory(name, mode: 0o700)
                target = try target.open(name)
                source = try source.open(name)
                try copyFiles(isWanted)
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
            // Metadata comes when nothing is left to be made in it: that would change the times.
            try finished.target.takeExactMetadata(of: finished.source, level.status)
        }
    }

    /// Copies what is no directory, and enters this one into the list.
    private mutating func copyFiles(_ isWanted: () -> Bool) throws(SyscallFailure) {
        // Before it is read: reading may change its access time.
        var level = Level(
            status: try source.file.status(), copy: try target.file.status().identity, pending: [])
        var names = try NameStream(of: source)
        while let name = try names.next() {
            guard isWanted() else { throw SyscallFailure("copy", path: "\(name)", errno: .canceled) }
            // Gone since it was read.
            guard let status = try source.status(of: name) else { continue }
            if status.isDirectory {
                level.pending.append(name)
            } else if status.linkCount < 2 {
                try copyFile(name, status, isWanted)
            } else if try !links.link(status, as: name, in: target) {
                try copyFile(name, status, isWanted)
                try links.add(status, name, of: target)
            }
        }
        levels.append(level)
    }

    private func copyFile(
        _ name: FileName, _ status: FileStatus, _ isWanted: () -> Bool
    ) throws(SyscallFailure) {
        // The order that the kernel's side effects ask for: chown clears setuid and capabilities (chown(2),
        // capabilities(7)), an access control list changes the mode, everything changes the times.
        if let copy = try source.duplicate(
            name, status, as: name, in: target, mode: 0o600, isWanted: isWanted)
        {
            try copy.setOwner(uid: status.uid, gid: status.gid)
            for (attribute, value) in try source.fileAttributes(of: name) {
                try copy.setExtendedAttribute(attribute, value)
            }
            try copy.setMode(status.mode)
            try copy.setTimes(access: status.accessTime, modification: status.modificationTime)
            return try copy.close()
        }
        try target.setOwner(of: name, uid: status.uid, gid: status.gid)
        for (attribute, value) in try source.fileAttributes(of: name) {
            try target.setExtendedAttribute(attribute, value, of: name)
        }
        if status.kind != .symlink { try target.setMode(of: name, status.mode) }
        try target.setTimes(of: name, access: status.accessTime, modification: status.modificationTime)
    }
}

/// Files with several names, of which some are not made yet. Each has one more name in a directory of their own
/// until then, for its first one may lie deeper than a path can tell.
private struct LinkGroups {
    private let root: Directory
    private let name = FileName(literal: ".links-\(UInt64.random(in: .min ... .max))")
    /// Made for the first group.
    private var directory: Directory?
    /// How many names of a file are still to be made.
    private var missing = [FileStatus.Identity: UInt64]()

    init(root: Directory) { self.root = root }

    /// Remembers a file whose first name was just made.
    mutating func add(
        _ status: FileStatus, _ name: FileName, of target: Directory
    ) throws(SyscallFailure) {
        if directory == nil { directory = try root.ensureDirectory(self.name.description) }
        try directory?.link(name, of: target, as: Self.name(status))
        missing[status.identity] = status.linkCount - 1
    }

    /// Makes one more name of a file that is known.
    ///
    /// - Returns: false for one that is not.
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

    /// Removes the directory, with files in it that have more names outside of the tree.
    func close() throws(SyscallFailure) { if directory != nil { try root.removeTree(name) } }

    private static func name(_ status: FileStatus) -> FileName {
        FileName(literal: "\(status.identity.device)-\(status.identity.inode)")
    }
}

extension Directory {
    /// The directory that this one lies in, if that is the one expected.
    fileprivate func parent(_ expected: FileStatus.Identity) throws(SyscallFailure) -> Directory {
        let descriptor = try syscall("openat", "..") {
            ck_openat(file.raw, "..", O_RDONLY | O_DIRECTORY, 0)
        }
        let parent = Directory(adopting: File(adopting: descriptor))
        guard try parent.file.status().identity == expected else {
            throw SyscallFailure("openat", path: "..", code: ESTALE)
        }
        return parent
    }

    /// Gives a directory that has no attributes another's metadata.
    fileprivate func takeExactMetadata(
        of other: Directory, _ status: FileStatus
    ) throws(SyscallFailure) {
        try file.setOwner(uid: status.uid, gid: status.gid)
        for (name, value) in try other.file.fileAttributes() { try file.setExtendedAttribute(name, value) }
        try file.setMode(status.mode)
        try file.setTimes(access: status.accessTime, modification: status.modificationTime)
    }
}
