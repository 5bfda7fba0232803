internal import CKernel
internal import Glibc
internal import SystemPackage

extension Directory {
    /// Removes whatever the name is, a directory with all that is in it, never following a link. What is gone
    /// already, or goes meanwhile because another process removes it too, is no error.
    ///
    /// - Parameter isWanted: polled during the work; when it returns false, the call fails with ECANCELED.
    package func removeTree(
        _ name: FileName, isWanted: () -> Bool = { true }
    ) throws(SyscallFailure) {
        if try !removeIfNotDirectory(name) { try DoomedDirectory(name, in: self).remove(isWanted) }
    }

    /// Removes all that is in this directory.
    ///
    /// - Parameter isWanted: as `removeTree` has it.
    package func removeContents(isWanted: () -> Bool = { true }) throws(SyscallFailure) {
        repeat { try DoomedDirectory(contentsOf: self).remove(isWanted) } while try !names(atMost: 1).isEmpty
    }

    /// - Returns: false for a directory.
    private func removeIfNotDirectory(_ name: FileName) throws(SyscallFailure) -> Bool {
        do {
            try removeIfThere(name)
            return true
        } catch let error where error.errno == .isDirectory || error.errno == .notPermitted {
            return false
        }
    }

    /// Removes anything but a directory.
    func removeIfThere(_ name: FileName) throws(SyscallFailure) {
        do throws(SyscallFailure) {
            try removeFile(name)
        } catch let error where error.isMissing {
            // Somebody else removes it, too.
        }
    }

    /// Reads the next names, as many as the kernel gives at once, and removes what is no directory: one call a file.
    ///
    /// - Parameter count: grows by the files that have gone.
    /// - Returns: the directories among them; nil if there were no more names.
    func removeSomeFiles(_ count: inout Int) throws(SyscallFailure) -> [FileName]? {
        var records = DirectoryRecords()
        if try !records.read(from: file) { return nil }
        var directories = [FileName]()
        while let (name, isDirectory) = records.next() {
            switch isDirectory {
            case true: directories.append(name)
            case false:
                try removeIfThere(name)
                count += 1
            case nil where try removeIfNotDirectory(name): count += 1
            case nil: directories.append(name)
            }
        }
        return directories
    }

    // MARK: Subvolumes

    /// Names that are read before they are removed.
    private static let removedAtOnce = 1000

    /// Removes a subvolume that lies in this directory, which may hold others: those are moved up to this one,
    /// as only subvolumes can be moved between subvolumes.
    func removeSubvolume(_ name: FileName, _ subvolume: Directory) throws(SyscallFailure) {
        try subvolume.setSubvolumeReadOnly(false)
        while try !destroySubvolume(name) {
            let some = try subvolume.names(atMost: Self.removedAtOnce)
            if some.isEmpty { return try removeEmptyDirectory(name) }
            for inner in some where try !subvolume.removeIfNotDirectory(inner) {
                let directory = try subvolume.open(inner)
                if try directory.isSubvolume() {
                    try lift(inner, from: subvolume)
                } else {
                    try directory.empty(into: subvolume)
                    try subvolume.removeEmptyDirectory(inner)
                }
            }
        }
    }

    /// Removes the files in this directory and moves its directories to another one.
    private func empty(into target: Directory) throws(SyscallFailure) {
        while case let some = try names(atMost: Self.removedAtOnce), !some.isEmpty {
            for name in some where try !removeIfNotDirectory(name) { try target.lift(name, from: self) }
        }
    }

    /// Moves a directory up into this one, under a name that nothing here has.
    ///
    /// - Returns: that name.
    @discardableResult
    func lift(_ name: FileName, from directory: Directory) throws(SyscallFailure) -> FileName {
        var isWritable = false
        while true {
            let lifted = FileName(literal: ".removed-\(UInt64.random(in: .min ... .max))")
            do {
                try syscall("renameat2", name.description) {
                    name.withCString { from in
                        lifted.withCString { to in
                            ck_renameat2(directory.file.raw, from, file.raw, to, ck_rename_noreplace)
                        }
                    }
                }
                return lifted
            } catch {
                if error.isTaken { continue }
                // Only a subvolume is read-only in a directory that is not.
                guard error.errno == .readOnlyFileSystem, !isWritable else { throw error }
                try directory.open(name).setSubvolumeReadOnly(false)
                isWritable = true
            }
        }
    }
}
