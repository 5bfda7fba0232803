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

    /// Bytes that one takes without attributes, with its place among its parent's children.
    static let cost: Int64 = 240

    /// The open directory, while it is among the most recently used.
    fileprivate var handle: Directory?

    init(name: FileName?, parent: DirectoryNode?, exists: Bool) {
        self.name = name
        above = parent
        self.exists = exists
        depth = parent.map { $0.depth + 1 } ?? 0
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
    /// Far beyond PATH_MAX, and small enough to be walked without exhausting a stack.
    static let maximumDepth = 4096
    /// Bytes of stack for a walk that deep: a level takes 7 KiB in a debug build.
    static let stackSize = 64 << 20
    /// Directories kept open.
    private static let maximumHandles = 256

    let root: DirectoryNode
    /// Whether there are files of `Whiteout.keptFolder`, which stand in the tree until its end.
    var keepsAside = false
    private var recent = [DirectoryNode]()
    private var oldest = 0

    init(_ directory: Directory) {
        root = DirectoryNode(name: nil, parent: nil, exists: true)
        root.handle = directory
    }

    /// The node's open directory, made first if the layer did not have it yet.
    mutating func open(_ node: DirectoryNode) throws(SyscallFailure) -> Directory {
        if let handle = node.handle { return handle }
        guard let parent = node.parent, let name = node.name else {
            throw SyscallFailure("openat", path: "/", code: 2)
        }
        let above = try open(parent)
        if !node.exists {
            // Its owner, mode and times come in the final pass: until then nothing can be inherited from it.
            try above.makeDirectory(name, mode: 0o700)
            node.exists = true
        }
        let handle = try above.open(name)
        node.handle = handle
        if recent.count < Self.maximumHandles {
            recent.append(node)
        } else {
            recent[oldest].handle = nil
            recent[oldest] = node
            oldest = (oldest + 1) % Self.maximumHandles
        }
        return handle
    }

    /// Closes one directory.
    mutating func close(_ node: DirectoryNode) { node.handle = nil }

    /// Closes what can be opened again: for a long wait, and for a walk in another order.
    mutating func closeHandles() {
        for node in recent { node.handle = nil }
        recent = []
        oldest = 0
    }
}
