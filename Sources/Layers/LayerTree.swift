internal import Archive
internal import Kernel

/// A directory that the layer touches: one that it has, or one in which it only hides something.
final class DirectoryNode {
    let name: FileName?
    /// Outlives it, unless both are gone from the layer.
    private unowned let above: DirectoryNode?
    let depth: Int
    var children = [FileName: DirectoryNode]()

    /// Whether it is in the snapshot's directory already.
    var exists: Bool
    /// From its own entry; nil for an implicit directory.
    var metadata: Metadata?
    /// `.wh..wh..opq`: nothing of the lower directory shows.
    var isOpaque = false
    /// Names X of `.wh.X`.
    var whiteouts = Set<FileName>()
    /// What it has beside directories, where that is not looked up on a disk.
    var files = [FileName: ImageTree.FileID]()
    /// The number of the entry that has listed it, where anybody asks.
    var entry: Int32?

    /// What the layers below have at this place, where they are an `ImageTree`; nil for nothing.
    var lowerID: ImageTree.FileID?

    /// Bytes that one takes without attributes, with its place among its parent's children.
    static let cost: Int64 = 240

    /// What the way from the root to this directory takes, in steps (`Budget.Limits.steps`).
    let distance: Int64

    /// The open directory, while it is among the most recently used.
    fileprivate(set) var handle: Directory?
    /// What the layers below have at this place, while it is among the most recently used.
    fileprivate(set) var lower: MergedDirectory?
    /// Whether the layers below are known to have no directory at this place.
    fileprivate(set) var hasNoLower = false
    /// Whether it was used since `OpenNodes` has last looked.
    fileprivate var wasUsed = false

    init(name: FileName?, parent: DirectoryNode?, exists: Bool) {
        self.name = name
        above = parent
        self.exists = exists
        depth = parent.map { $0.depth + 1 } ?? 0
        // Beside a call for each directory, the kernel and the record of a tree handle each byte of the path.
        distance = parent.map { $0.distance + 1 + Int64((name?.bytes.count ?? 0) / 16) } ?? 1
    }

    /// Releases the directories below one by one: the release of a chain would recurse, 4096 levels deep.
    deinit {
        if children.isEmpty { return }
        var released = Array(children.values)
        children = [:]
        while var node = released.popLast() {
            guard isKnownUniquelyReferenced(&node) else { continue }
            released += node.children.values
            node.children = [:]
        }
    }

    /// Nil for the root. Not to be asked of a directory that is gone.
    var parent: DirectoryNode? { above }

    /// From the root down.
    var path: [FileName] {
        var names = [FileName]()
        var node = self
        while let name = node.name, let parent = node.parent {
            names.append(name)
            node = parent
        }
        return names.reversed()
    }

    /// Whether it is a directory, or below it.
    func stands(in directory: DirectoryNode) -> Bool {
        var node: DirectoryNode? = self
        while let next = node {
            if next === directory { return true }
            node = next.parent
        }
        return false
    }

    /// Whether the layer hides what the lower layers have under a name here.
    func hides(_ name: FileName) -> Bool { isOpaque || whiteouts.contains(name) }
}

/// The directories of the layer that is applied, and their open descriptors.
struct LayerTree {
    /// Far beyond PATH_MAX. It bounds what one path takes; no function recurses over it.
    static let maximumDepth = 4096

    let root: DirectoryNode
    /// Whether there are files of `Whiteout.keptFolder`, which stand in the tree until its end.
    var keepsAside = false
    private var recent = OpenNodes(.own)
    /// At multiples of `interval`: from one of them each directory below is near.
    private var checkpoints = OpenNodes(.own)
    private var lowers = OpenNodes(.lower)
    private var lowerCheckpoints = OpenNodes(.lower)
    /// Steps that have been taken and not been counted yet.
    private var steps: Int64 = 0

    private static let interval = 64
    /// Directories of each kind that stay open.
    private static let capacity = 256
    /// Descriptors for those of the layers below, of each kind.
    private static let lowerCapacity = 64

    init(_ directory: Directory) {
        root = DirectoryNode(name: nil, parent: nil, exists: true)
        root.handle = directory
    }

    /// The node's open directory, made first if the layer did not have it yet.
    mutating func open(_ node: DirectoryNode) throws(SyscallFailure) -> Directory {
        if let handle = node.handle {
            node.wasUsed = true
            return handle
        }
        var way = [node]
        var above = node.parent
        while let next = above, next.handle == nil {
            way.append(next)
            above = next.parent
        }
        guard var directory = above?.handle else { throw SyscallFailure("openat", path: "/", code: 2) }
        while let next = way.popLast() {
            guard let name = next.name else { break }
            if !next.exists {
                // Its owner, mode and times come in the final pass: until then nothing can be inherited from it.
                try directory.makeDirectory(name, mode: 0o700)
                next.exists = true
            }
            directory = try directory.open(name)
            steps += Self.cost(of: next)
            if next.depth.isMultiple(of: Self.interval) {
                next.handle = directory
                checkpoints.add(next, capacity: Self.capacity)
            } else if way.count < Self.interval {
                next.handle = directory
                recent.add(next, capacity: Self.capacity)
            }
        }
        return directory
    }

    /// What the layers below have at the node's place, whether this layer hides it or not: nil unless that is a directory. No
    /// symlink on the way is followed.
    mutating func lower(
        of node: DirectoryNode, in view: LowerView
    ) throws(SyscallFailure) -> MergedDirectory? {
        var way = [DirectoryNode]()
        var next = node
        while next.lower == nil, let parent = next.parent {
            if next.hasNoLower {
                for node in way { node.hasNoLower = true }
                return nil
            }
            way.append(next)
            next = parent
        }
        next.wasUsed = true
        var lower = next.lower ?? view.root
        while let next = way.popLast() {
            guard let name = next.name else { break }
            guard let found = try lower.directory(name) else {
                next.hasNoLower = true
                for node in way { node.hasNoLower = true }
                return nil
            }
            lower = found
            steps += Self.cost(of: next) * Int64(found.layers.count)
            if way.isEmpty || next.depth.isMultiple(of: Self.interval) {
                next.lower = found
                let capacity = max(4, Self.lowerCapacity / view.root.layers.count)
                if way.isEmpty {
                    lowers.add(next, capacity: capacity)
                } else {
                    lowerCheckpoints.add(next, capacity: capacity)
                }
            }
        }
        return lower
    }

    /// Under Landlock the kernel goes up to the root for each directory that is opened.
    private static func cost(of node: DirectoryNode) -> Int64 { 1 + Int64(node.depth / 16) }

    /// Steps since the last call.
    mutating func takeSteps() -> Int64 {
        defer { steps = 0 }
        return steps
    }

    /// Closes one directory.
    mutating func close(_ node: DirectoryNode) { node.handle = nil }

    /// Closes what can be opened again: for a long wait, and for a walk in another order.
    mutating func closeHandles() {
        recent.close()
        checkpoints.close()
        lowers.close()
        lowerCheckpoints.close()
    }
}

/// The nodes whose directories stay open. Of those that are too many the first that was not used lately is closed (the clock
/// algorithm).
private struct OpenNodes {
    enum Handle { case own, lower }

    private let handle: Handle
    private var nodes = [DirectoryNode]()
    private var hand = 0

    init(_ handle: Handle) { self.handle = handle }

    /// - Parameter capacity: how many stay open, the same in each call.
    mutating func add(_ node: DirectoryNode, capacity: Int) {
        if nodes.count < capacity {
            nodes.append(node)
            return
        }
        while nodes[hand].wasUsed {
            nodes[hand].wasUsed = false
            hand = (hand + 1) % nodes.count
        }
        close(nodes[hand])
        nodes[hand] = node
        hand = (hand + 1) % nodes.count
    }

    mutating func close() {
        for node in nodes { close(node) }
        nodes = []
        hand = 0
    }

    private func close(_ node: DirectoryNode) {
        switch handle {
        case .own: node.handle = nil
        case .lower: node.lower = nil
        }
    }
}
