package import Kernel

/// The space of a tree's files.
package struct TreeUsage: Equatable, Sendable {
    /// Allocated bytes.
    package fileprivate(set) var size: Int64 = 0
    package fileprivate(set) var inodes: Int64 = 0

    /// Measures a tree: its root and all below it, each inode once.
    ///
    /// - Parameter other: files with the inode number and the change time of a file in this tree are left out: a
    ///   snapshot of a file system keeps both, and every change sets a new change time.
    package init(of tree: Directory, notIn other: Directory? = nil) throws(SyscallFailure) {
        var unchanged = Set<FileStatus.Version>()
        try other?.forEachStatus { unchanged.insert($0.version) }
        var count = UsageCount()
        try tree.forEachStatus { status in
            // Each tree has a root of its own.
            if count.usage.inodes > 0, unchanged.contains(status.version) { return }
            count.add(status)
        }
        self = count.usage
    }

    fileprivate init() {}
}

/// Adds up the space of a tree's files, each inode once.
struct UsageCount {
    private(set) var usage = TreeUsage()
    /// Files with several hard links; a file with one is visited once.
    private var seen = Set<FileStatus.Identity>()

    mutating func add(_ status: FileStatus) {
        if !status.isDirectory, status.linkCount > 1, !seen.insert(status.identity).inserted { return }
        usage.size += status.blocks * FileStatus.blockSize
        usage.inodes += 1
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
