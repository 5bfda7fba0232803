internal import Kernel

/// The directories of one layer on a disk, of which a bounded number stays open.
struct OpenDirectories {
    typealias Node = DirectoryNode<DirectorySink.Storage>

    private let account: Budget.Account
    private var recent = RecentNodes(\DirectorySink.Storage.handle)
    /// Those at multiples of `interval`: from one of them each directory below is near.
    private var checkpoints = RecentNodes(\DirectorySink.Storage.handle)

    static let interval = 64
    /// Directories of each kind that stay open.
    private static let capacity = 256

    init(_ account: Budget.Account) { self.account = account }

    /// The node's open directory, made first with those above it if the layer did not have it yet.
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
                // Its owner, mode and times are set in the final pass: until then nothing can inherit from it.
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

    /// Closes all but the root: before a long wait, and before a walk in another order.
    mutating func close() {
        recent.clear()
        checkpoints.clear()
    }
}

extension DirectoryNode {
    /// Steps that opening it takes: under Landlock the kernel goes up to the root for each directory that is opened.
    var stepsToOpen: Int64 { 1 + Int64(depth / 16) }
}
