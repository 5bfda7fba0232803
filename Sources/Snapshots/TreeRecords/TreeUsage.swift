internal import Kernel

extension SnapshotUsage {
    /// Measures a tree: its root and all below it, each inode once.
    ///
    /// - Parameter other: files with the inode number and the change time of a file in this tree are left out: a
    ///   snapshot of a file system keeps both, and every change sets a new change time.
    init(of tree: Directory, notIn other: Directory? = nil) throws(SyscallFailure) {
        var unchanged = Set<FileStatus.Version>()
        try other?.forEachStatus { unchanged.insert($0.version) }
        var count = UsageCount()
        try tree.forEachStatus { status in
            // Each snapshot has a root of its own.
            if count.usage.inodes > 0, unchanged.contains(status.version) { return }
            count.add(status)
        }
        self = count.usage
    }
}

/// Adds up the space of a tree's files, each inode once.
struct UsageCount {
    private var size: Int64 = 0
    private var inodes: Int64 = 0
    /// Files with several hard links; a file with one is visited once.
    private var seen = Set<FileStatus.Identity>()

    var usage: SnapshotUsage { SnapshotUsage(size: size, inodes: inodes) }

    mutating func add(_ status: FileStatus) {
        if !status.isDirectory, status.linkCount > 1, !seen.insert(status.identity).inserted { return }
        size += status.blocks * FileStatus.blockSize
        inodes += 1
    }
}

extension Directory {
    /// Visits this directory and all below it, without files that are removed meanwhile.
    fileprivate func forEachStatus(_ body: (FileStatus) -> Void) throws(SyscallFailure) {
        var walk = TreeWalk(self, isOrdered: false)
        while let step = walk.next() {
            switch step {
            case .entry(let entry): body(entry.status)
            case .vanished: continue
            case .unreadable(let failure): if !failure.isMissing { throw failure }
            }
        }
    }
}
