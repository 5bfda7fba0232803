internal import Synchronization
internal import SystemPackage

/// The removal of a directory tree in steps, which one or several threads can take in any order. A tree of any depth
/// and width takes few descriptors and little memory.
///
/// All calls are anchored at descriptors and follow no symlink. Entries that are missing, or that another process
/// removes meanwhile, are no error.
package final class DirectoryRemoval: @unchecked Sendable {
    private let folder: Directory
    /// Name in `folder`; nil if only the contents are removed and the directory stays.
    private let name: FileName?
    private let parent: DirectoryRemoval?
    /// Levels below the root of the removal.
    private let depth: Int
    /// On other file systems no check for subvolumes is needed.
    private let isOnBtrfs: Bool
    /// Opened by the first step, before other steps refer to entries in it; closed by the last one.
    private var directory: Directory?
    /// Number of unfinished subdirectories, plus one until all names have been read.
    private let unfinished = Atomic<Int>(1)

    /// Deepest level that is removed in place: each thread holds one descriptor per level and one more. Deeper
    /// directories are moved up to the root of the removal.
    private static let maximumDepth = 64

    package convenience init(_ name: FileName, in folder: Directory) throws(SyscallFailure) {
        self.init(name, in: folder, parent: nil, isOnBtrfs: try folder.isBtrfs)
    }

    /// Removes the contents of a directory, which itself stays.
    ///
    /// - Parameter directory: may hold directories that were moved up when the removal ends.
    convenience init(contentsOf directory: Directory) throws(SyscallFailure) {
        self.init(nil, in: directory, parent: nil, isOnBtrfs: try directory.isBtrfs)
    }

    private init(_ name: FileName?, in folder: Directory, parent: DirectoryRemoval?, isOnBtrfs: Bool) {
        self.folder = folder
        self.name = name
        self.parent = parent
        self.isOnBtrfs = isOnBtrfs
        depth = parent.map { $0.depth + 1 } ?? 0
    }

    /// Takes all steps.
    func remove() throws(SyscallFailure) {
        var rest = [self]
        var count = 0
        while let next = rest.popLast() { rest += try next.step(&count) }
    }

    /// Takes all steps, and calls `check` before each; an error that it throws ends the work.
    func remove(_ check: () throws -> Void) throws {
        var rest = [self]
        var count = 0
        while let next = rest.popLast() {
            try check()
            rest += try next.step(&count)
        }
    }

    /// Takes one step: removes the files in one buffer of names, about a thousand, or the directory itself when it is
    /// empty.
    ///
    /// - Parameter count: incremented for each removed file.
    /// - Returns: the steps that follow. Taking the last one first keeps the fewest directories open.
    package func step(_ count: inout Int) throws(SyscallFailure) -> [DirectoryRemoval] {
        guard let directory = try opened(), let names = try directory.removeSomeFiles(&count) else {
            return try finish()
        }
        var rest = [self]
        for name in names { if let inner = try inner(name, of: directory) { rest.append(inner) } }
        return rest
    }

    /// - Returns: nil if the directory does not exist any more.
    private func opened() throws(SyscallFailure) -> Directory? {
        if let directory { return directory }
        // Opens the directory anew: listing moves the position that duplicated descriptors share.
        guard let name else {
            directory = try folder.open(FileName(literal: "."))
            return directory
        }
        do throws(SyscallFailure) {
            let opened = try folder.open(name)
            if isOnBtrfs, try opened.isSubvolume() {
                try folder.removeSubvolume(name, opened)
                return nil
            }
            directory = opened
        } catch let error where error.isMissing {
            return nil
        } catch let error where error.errno == .notDirectory {
            try folder.removeFileIfPresent(name)
        }
        return directory
    }

    /// - Returns: nil if the directory was moved up to the root of the removal, which is listed again before it is
    ///   removed.
    private func inner(_ name: FileName, of directory: Directory) throws(SyscallFailure) -> DirectoryRemoval?
    {
        if depth < Self.maximumDepth { return DirectoryRemoval(name, of: directory, parent: self) }
        do throws(SyscallFailure) {
            // The root stays open until all directories below it are finished.
            try top.directory?.moveUp(name, from: directory)
        } catch let error where error.isMissing {
            // Another process has removed it.
        }
        return nil
    }

    private convenience init(_ name: FileName, of directory: Directory, parent: DirectoryRemoval) {
        parent.unfinished.add(1, ordering: .relaxed)
        self.init(name, in: directory, parent: parent, isOnBtrfs: parent.isOnBtrfs)
    }

    private var top: DirectoryRemoval {
        var top = self
        while let parent = top.parent { top = parent }
        return top
    }

    /// Finishes one unit of work on this directory. The last one removes the directory, and finishes a unit of its
    /// parent.
    ///
    /// - Returns: a new step for a directory that has entries again.
    private func finish() throws(SyscallFailure) -> [DirectoryRemoval] {
        var next: DirectoryRemoval? = self
        while let directory = next {
            guard directory.unfinished.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else {
                return []
            }
            if let again = try directory.removeEmpty() { return [again] }
            next = directory.name == nil ? nil : directory.parent
        }
        return []
    }

    /// - Returns: a new step for the directory if it has entries again.
    private func removeEmpty() throws(SyscallFailure) -> DirectoryRemoval? {
        directory = nil
        guard let name else { return nil }
        do throws(SyscallFailure) {
            try folder.removeEmptyDirectory(name)
        } catch let error where error.isMissing {
            // Another process has removed it.
        } catch let error where error.errno == .directoryNotEmpty {
            // A directory has been moved up, by this removal or by one of another process.
            return DirectoryRemoval(name, in: folder, parent: parent, isOnBtrfs: isOnBtrfs)
        }
        return nil
    }
}
