internal import Kernel

/// Opens the directories of one layer on a disk, and keeps a bounded number of them open.
struct OpenDirectories {
    typealias Node = DirectoryNode<DirectorySink.Storage>

    private let account: Budget.Account
    private var recent = RecentNodes(\DirectorySink.Storage.handle)
    /// Directories at depths that are multiples of `interval`, so that few have to be opened for any directory below.
    private var checkpoints = RecentNodes(\DirectorySink.Storage.handle)

    static let interval = 64
    /// Maximum number of open directories of each kind.
    private static let capacity = 256

    init(_ account: Budget.Account) { self.account = account }

    /// Returns the node's open directory. Directories on its path that the layer does not have yet are created.
    mutating func open(_ node: Node) throws -> Directory {
        if let handle = node.storage.handle.use() { return handle }
        var missing = [node]
        var above = node.parent
        while let next = above, next.storage.handle.value == nil {
            missing.append(next)
            above = next.parent
        }
        guard var directory = above?.storage.handle.value else {
            throw InternalError("the root of a layer is not open")
        }
        while let next = missing.popLast() {
            guard let name = next.name else { break }
            if !next.exists {
                // Owner, mode and times are set in the final pass: until then nothing can inherit from the directory.
                try directory.makeDirectory(name, mode: 0o700)
                next.exists = true
            }
            directory = try directory.open(name)
            try account.step(next.stepsToOpen)
            if next.depth.isMultiple(of: Self.interval) {
                checkpoints.add(directory, to: next, capacity: Self.capacity)
            } else if missing.count < Self.interval {
                recent.add(directory, to: next, capacity: Self.capacity)
            }
        }
        return directory
    }

    /// Closes all directories except the root, before a long wait or a walk in another order.
    mutating func close() {
        recent.clear()
        checkpoints.clear()
    }
}

extension DirectoryNode {
    /// Steps for opening the directory: under Landlock the kernel walks up to the root for each directory that is
    /// opened.
    var stepsToOpen: Int64 { 1 + Int64(depth / 16) }
}
