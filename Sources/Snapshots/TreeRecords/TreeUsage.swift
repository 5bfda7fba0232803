internal import Kernel

extension SnapshotUsage {
    /// What a tree takes of its disk: its root and all below it, each inode once.
    ///
    /// - Parameter other: a tree in which what has the same inode number and change time is left out: what a snapshot
    ///   of a file system takes over, and every change renews.
    init(of tree: Directory, notIn other: Directory? = nil) throws(SyscallFailure) {
        var unchanged = Set<FileStatus.Version>()
        try other?.forEachStatus { unchanged.insert($0.version) }
        var count = UsageCount()
        try tree.forEachStatus { status in
            // The root is each snapshot's own, whatever it shows.
            if count.usage.inodes > 0, unchanged.contains(status.version) { return }
            count.add(status)
        }
        self = count.usage
    }
}

/// What the files of a tree take, each inode once.
struct UsageCount {
    private var size: Int64 = 0
    private var inodes: Int64 = 0
    /// Only what has several names can come again.
    private var seen = Set<FileStatus.Identity>()

    var usage: SnapshotUsage { SnapshotUsage(size: size, inodes: inodes) }

    mutating func add(_ status: FileStatus) {
        if !status.isDirectory, status.linkCount > 1, !seen.insert(status.identity).inserted { return }
        size += status.blocks * FileStatus.blockSize
        inodes += 1
    }
}

extension Directory {
    /// This directory and all below it. What goes meanwhile is left out.
    fileprivate func forEachStatus(_ body: (FileStatus) -> Void) throws(SyscallFailure) {
        var walk = TreeWalk(self, isOrdered: false)
        while let step = walk.next() {
            switch step {
            case .entry(let entry): body(entry.status)
            case .unreadable(let failure): if !failure.isMissing { throw failure }
            }
        }
    }
}
