internal import CKernel
internal import Glibc
internal import SystemPackage

extension Directory {
    /// Removes a file, or a directory with its tree, without following symlinks. Entries that are missing, or that
    /// another process removes meanwhile, are no error.
    package func removeTree(_ name: FileName) throws(SyscallFailure) {
        if try !removeIfNotDirectory(name) { try DirectoryRemoval(name, in: self).remove() }
    }

    /// Removes a tree as `removeTree(_:)`.
    ///
    /// - Parameter check: called during the work; an error that it throws ends the work.
    /// - Throws: `SyscallFailure`, errors of `check`.
    package func removeTree(_ name: FileName, check: () throws -> Void) throws {
        if try !removeIfNotDirectory(name) { try DirectoryRemoval(name, in: self).remove(check) }
    }

    /// Removes all entries of this directory.
    package func removeContents() throws(SyscallFailure) {
        repeat {
            try DirectoryRemoval(contentsOf: self).remove()
        } while try !names(atMost: 1).isEmpty
    }

    /// Removes all entries of this directory.
    ///
    /// - Parameter check: as in `removeTree`.
    package func removeContents(check: () throws -> Void) throws {
        repeat {
            try DirectoryRemoval(contentsOf: self).remove(check)
        } while try !names(atMost: 1).isEmpty
    }

    /// Removes a file; a missing one is no error.
    ///
    /// - Returns: false for a directory, which stays.
    private func removeIfNotDirectory(_ name: FileName) throws(SyscallFailure) -> Bool {
        do {
            try removeFileIfPresent(name)
            return true
        } catch let error where error.errno == .isDirectory || error.errno == .notPermitted {
            return false
        }
    }

    /// Removes a file; a missing one is no error.
    ///
    /// - Throws: EISDIR or EPERM for a directory.
    func removeFileIfPresent(_ name: FileName) throws(SyscallFailure) {
        do throws(SyscallFailure) {
            try removeFile(name)
        } catch let error where error.isMissing {
            // Another thread or process has removed it.
        }
    }

    /// Reads one buffer of names (getdents64(2)) and removes the files among them, with one call per file.
    ///
    /// - Parameter count: incremented for each removed file.
    /// - Returns: the directories among the names; nil if there were no more names.
    func removeSomeFiles(_ count: inout Int) throws(SyscallFailure) -> [FileName]? {
        var records = DirectoryRecords()
        if try !records.read(from: file) { return nil }
        var directories = [FileName]()
        while let (name, isDirectory) = records.next() {
            switch isDirectory {
            case true: directories.append(name)
            case false:
                try removeFileIfPresent(name)
                count += 1
            case nil where try removeIfNotDirectory(name): count += 1
            case nil: directories.append(name)
            }
        }
        return directories
    }

    // MARK: Subvolumes

    /// Number of names read at once, before their files are removed.
    private static let removalBatchSize = 1000

    /// Removes a subvolume of this directory. Subvolumes nested in it are moved up to this directory, because only
    /// subvolumes can be moved between subvolumes.
    func removeSubvolume(_ name: FileName, _ subvolume: Directory) throws(SyscallFailure) {
        try subvolume.setSubvolumeReadOnly(false)
        while try !destroySubvolume(name) {
            let some = try subvolume.names(atMost: Self.removalBatchSize)
            if some.isEmpty { return try removeEmptyDirectory(name) }
            for inner in some where try !subvolume.removeIfNotDirectory(inner) {
                let directory = try subvolume.open(inner)
                if try directory.isSubvolume() {
                    try moveUp(inner, from: subvolume)
                } else {
                    try directory.empty(into: subvolume)
                    try subvolume.removeEmptyDirectory(inner)
                }
            }
        }
    }

    /// Removes the files of this directory and moves its subdirectories to another one.
    private func empty(into target: Directory) throws(SyscallFailure) {
        while case let some = try names(atMost: Self.removalBatchSize), !some.isEmpty {
            for name in some where try !removeIfNotDirectory(name) { try target.moveUp(name, from: self) }
        }
    }

    /// Moves a directory up into this one, under a new unused name.
    ///
    /// - Returns: the new name.
    @discardableResult
    func moveUp(_ name: FileName, from directory: Directory) throws(SyscallFailure) -> FileName {
        var isWritable = false
        while true {
            let newName = FileName(literal: ".removed-\(UInt64.random(in: .min ... .max))")
            do {
                try syscall("renameat2", name.description) {
                    name.withCString { from in
                        newName.withCString { to in
                            ck_renameat2(directory.file.raw, from, file.raw, to, ck_rename_noreplace)
                        }
                    }
                }
                return newName
            } catch {
                if error.isExistingFile { continue }
                // In a writable directory, only a read-only subvolume fails with EROFS.
                guard error.errno == .readOnlyFileSystem, !isWritable else { throw error }
                try directory.open(name).setSubvolumeReadOnly(false)
                isWritable = true
            }
        }
    }
}
