internal import Kernel

extension SnapshotUsage {
    /// What a tree takes of its disk: its root and all below it, each inode once.
    ///
    /// - Parameter other: a tree in which what has the same inode number and change time is left out: what a snapshot
    ///   of a file system takes over, and every change renews.
    init(of tree: Directory, notIn other: Directory? = nil) throws(SyscallFailure) {
        var unchanged = Set<FileStatus.Version>()
        try other?.forEachStatus { unchanged.insert($0.version) }
        var size: Int64 = 0
        var inodes: Int64 = 0
        // Only what has several names can come again.
        var seen = Set<FileStatus.Identity>()
        try tree.forEachStatus { status in
            // The root is each snapshot's own, whatever it shows.
            if inodes > 0, unchanged.contains(status.version) { return }
            if !status.isDirectory, status.linkCount > 1, !seen.insert(status.identity).inserted { return }
            size += status.blocks * FileStatus.blockSize
            inodes += 1
        }
        self.init(size: size, inodes: inodes)
    }
}

extension Directory {
    /// This directory and all below it. What goes meanwhile is left out.
    fileprivate func forEachStatus(_ body: (FileStatus) -> Void) throws(SyscallFailure) {
        var walk = TreeWalk(self)
        while let step = walk.next() {
            switch step {
            case .entry(let entry): body(entry.status)
            case .unreadable(let failure): if !failure.isMissing { throw failure }
            }
        }
    }
}
