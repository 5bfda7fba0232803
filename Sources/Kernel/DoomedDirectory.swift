internal import Synchronization
internal import SystemPackage

/// A directory that is to go with all that is in it, a piece at a time: one thread can do it or several, in any order,
/// and however deep or wide it is, it takes few descriptors and little memory.
///
/// All is anchored at descriptors, and no symlink is followed. What is gone already, or goes meanwhile because somebody
/// else removes it too, is no error.
package final class DoomedDirectory: @unchecked Sendable {
    private let folder: Directory
    /// In `folder`; nil for a directory that stays itself.
    private let name: FileName?
    private let parent: DoomedDirectory?
    /// Below the one that it began with.
    private let depth: Int
    /// Only there subvolumes have to be looked for.
    private let isOnBtrfs: Bool
    /// Opened by the first step, before anybody knows of what is in it; closed by the last.
    private var directory: Directory?
    /// The directories in it, and one until all of its names have been read.
    private let unfinished = Atomic<Int>(1)

    /// So many are open at once, and one more, for each thread: what lies deeper is moved up.
    private static let deepest = 64

    package convenience init(_ name: FileName, in folder: Directory) throws(SyscallFailure) {
        self.init(name, in: folder, parent: nil, isOnBtrfs: try folder.isBtrfs)
    }

    /// - Parameter directory: stays. What has been moved up to it, too.
    convenience init(contentsOf directory: Directory) throws(SyscallFailure) {
        self.init(nil, in: directory, parent: nil, isOnBtrfs: try directory.isBtrfs)
    }

    private init(_ name: FileName?, in folder: Directory, parent: DoomedDirectory?, isOnBtrfs: Bool) {
        self.folder = folder
        self.name = name
        self.parent = parent
        self.isOnBtrfs = isOnBtrfs
        depth = parent.map { $0.depth + 1 } ?? 0
    }

    /// Removes all of it.
    func remove(_ isWanted: () -> Bool) throws(SyscallFailure) {
        var rest = [self]
        var count = 0
        while let next = rest.popLast() {
            guard isWanted() else { throw SyscallFailure("unlinkat", errno: .canceled) }
            rest += try next.removeSome(&count)
        }
    }

    /// Removes a thousand files that are in it, or fewer, or it itself when nothing is in it any more.
    ///
    /// - Parameter count: grows by the files that have gone.
    /// - Returns: what is to be done then; the last one first, and few will be open at once.
    package func removeSome(_ count: inout Int) throws(SyscallFailure) -> [DoomedDirectory] {
        guard let directory = try opened(), let names = try directory.removeSomeFiles(&count) else {
            return try finish()
        }
        var rest = [self]
        for name in names { if let inner = try inner(name, of: directory) { rest.append(inner) } }
        return rest
    }

    /// - Returns: nil where there is no directory any more.
    private func opened() throws(SyscallFailure) -> Directory? {
        if let directory { return directory }
        // One of its own: reading moves the position that all who have a descriptor share.
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
            try folder.removeIfThere(name)
        }
        return directory
    }

    /// - Returns: nil where it has been moved up to where all began, which is read again before it goes.
    private func inner(_ name: FileName, of directory: Directory) throws(SyscallFailure) -> DoomedDirectory? {
        if depth < Self.deepest { return DoomedDirectory(name, of: directory, parent: self) }
        do throws(SyscallFailure) {
            // Open for as long as this one is not finished.
            try top.directory?.lift(name, from: directory)
        } catch let error where error.isMissing {
            // Somebody else removes it, too.
        }
        return nil
    }

    private convenience init(_ name: FileName, of directory: Directory, parent: DoomedDirectory) {
        parent.unfinished.add(1, ordering: .relaxed)
        self.init(name, in: directory, parent: parent, isOnBtrfs: parent.isOnBtrfs)
    }

    private var top: DoomedDirectory {
        var top = self
        while let parent = top.parent { top = parent }
        return top
    }

    /// Records that one of the pieces that keep this directory is done. After the last one the directory is removed, and
    /// then those above it that are complete, too.
    ///
    /// - Returns: the directory anew if it has an entry again.
    private func finish() throws(SyscallFailure) -> [DoomedDirectory] {
        var next: DoomedDirectory? = self
        while let directory = next {
            guard directory.unfinished.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else {
                return []
            }
            if let again = try directory.removeEmpty() { return [again] }
            next = directory.name == nil ? nil : directory.parent
        }
        return []
    }

    /// - Returns: the directory anew if it has an entry again.
    private func removeEmpty() throws(SyscallFailure) -> DoomedDirectory? {
        directory = nil
        guard let name else { return nil }
        do throws(SyscallFailure) {
            try folder.removeEmptyDirectory(name)
        } catch let error where error.isMissing {
            // Somebody else was faster.
        } catch let error where error.errno == .directoryNotEmpty {
            // Something has been moved up, by this or by somebody else who removes it too.
            return DoomedDirectory(name, in: folder, parent: parent, isOnBtrfs: isOnBtrfs)
        }
        return nil
    }
}
