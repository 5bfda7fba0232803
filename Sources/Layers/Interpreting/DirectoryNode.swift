internal import Archive
internal import Kernel

/// A directory of one layer: one that the layer has, or one in which it only hides names of the layers below.
final class DirectoryNode<Storage> {
    /// Nil for the root.
    let name: FileName?
    /// Outlives this node, unless both were removed from the layer.
    private unowned let above: DirectoryNode?
    /// Directories above it; 0 for the root.
    let depth: Int
    var children = [FileName: DirectoryNode]()

    /// Whether the layer has the directory: an entry lists it, or lists a file in it.
    var exists: Bool
    /// Metadata of its own entry; nil for an implicit directory.
    fileprivate(set) var metadata: Metadata?
    /// Whether the layer has `.wh..wh..opq` here: all entries of the layers below are hidden.
    var isOpaque = false
    /// Names X of `.wh.X`.
    fileprivate(set) var whiteouts = Set<FileName>()

    /// Steps that the path from the root to this directory takes (`Budget.Limits.steps`).
    let distance: Int64

    /// State of the sink.
    var storage: Storage

    init(name: FileName?, parent: DirectoryNode?, exists: Bool, storage: Storage) {
        self.name = name
        above = parent
        self.exists = exists
        self.storage = storage
        depth = parent.map { $0.depth + 1 } ?? 0
        // The kernel and the record of a tree also process each byte of the path.
        distance = parent.map { $0.distance + 1 + Int64((name?.bytes.count ?? 0) / 16) } ?? 1
    }

    /// Releases the directories below one by one: a default release would recurse, up to 4096 levels deep.
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

    /// Nil for the root. Must not be read after the directory was removed.
    var parent: DirectoryNode? { above }

    /// Path from the root.
    var path: [FileName] {
        var names = [FileName]()
        var node = self
        while let name = node.name, let parent = node.parent {
            names.append(name)
            node = parent
        }
        return names.reversed()
    }

    /// Whether this is the given directory, or one below it.
    func isWithin(_ directory: DirectoryNode) -> Bool {
        var node: DirectoryNode? = self
        while let next = node {
            if next === directory { return true }
            node = next.parent
        }
        return false
    }

    /// Whether the layer hides a name of the layers below in this directory.
    func hides(_ name: FileName) -> Bool { isOpaque || whiteouts.contains(name) }

    /// Whether the layer hides a name of the layers below in this directory, or one of the directories above it.
    func isHidden(_ name: FileName) -> Bool {
        if hides(name) { return true }
        var node = self
        while let own = node.name, let parent = node.parent {
            if parent.hides(own) { return true }
            node = parent
        }
        return false
    }

    /// Returns those of the given paths of the layers below that this layer hides. Must be called on the root.
    func hidden(of paths: Set<[FileName]>) -> Set<[FileName]> {
        paths.filter { path in
            var node: DirectoryNode? = self
            for name in path {
                guard let directory = node else { return false }
                if directory.hides(name) { return true }
                node = directory.children[name]
            }
            return false
        }
    }
}

/// The directories of one layer, as its entries describe them, and the memory that they take.
struct LayerTree<Storage> {
    typealias Node = DirectoryNode<Storage>

    let root: Node
    /// Directories that are tracked.
    private(set) var count = 0
    /// Bytes of their extended attributes.
    private(set) var attributeBytes: Int64 = 0
    private let memory: any MemoryLimit

    init(root: Storage, memory: any MemoryLimit) {
        self.root = Node(name: nil, parent: nil, exists: true, storage: root)
        self.memory = memory
    }

    /// - Throws: `LayerFailure` for a directory that is too deep; `Budget.Excess`.
    mutating func add(
        _ name: FileName, to parent: Node, exists: Bool, storage: Storage
    ) throws -> Node {
        let node = Node(name: name, parent: parent, exists: exists, storage: storage)
        guard node.depth <= TreeLimits.depth else {
            throw LayerFailure(.refused("more than \(TreeLimits.depth) directories deep"))
        }
        try reserveMemory(name.memorySize + TreeLimits.directorySize)
        count += 1
        parent.children[name] = node
        return node
    }

    /// Records the metadata of a directory's entry; nil removes it.
    mutating func describe(_ node: Node, _ metadata: Metadata?) throws(Budget.Excess) {
        let change = (metadata?.attributesSize ?? 0) - (node.metadata?.attributesSize ?? 0)
        node.metadata = metadata
        if change == 0 { return }
        attributeBytes += change
        try reserveMemory(change)
    }

    mutating func addWhiteout(of name: FileName, in node: Node) throws(Budget.Excess) {
        if node.whiteouts.insert(name).inserted { try reserveMemory(name.memorySize) }
    }

    /// Stops tracking a directory. The caller removes it from its parent.
    mutating func drop(_ node: Node) throws(Budget.Excess) {
        // A list of open directories may keep the node for a while.
        try describe(node, nil)
        count -= 1
        memory.releaseMemory((node.name?.memorySize ?? 0) + TreeLimits.directorySize)
    }

    func reserveMemory(_ bytes: Int64) throws(Budget.Excess) { try memory.reserveMemory(bytes) }

    /// Tracked memory in units of directories: attributes count as the number of directories of the same size.
    var weight: Int { count + Int(attributeBytes / TreeLimits.directorySize) }
}

enum TreeLimits {
    /// Maximum depth of directories, far beyond PATH_MAX. It bounds the work for one path; no function recurses over
    /// it.
    static let depth = 4096
    /// Symlinks that the resolution of one path follows, as many as the kernel follows (path_resolution(7)).
    static let symlinks = 40
    /// Bytes of memory of a tracked directory without its name and attributes.
    static let directorySize: Int64 = 240
}

/// Counts bytes of memory against a limit.
protocol MemoryLimit: Sendable {
    func reserveMemory(_ bytes: Int64) throws(Budget.Excess)
    func releaseMemory(_ bytes: Int64)
}

extension Budget.Account: MemoryLimit {}
extension TreeMemory: MemoryLimit {}

extension FileName {
    /// Bytes that it takes in a set or a dictionary: its own array, and a share of the empty buckets (a third).
    var memorySize: Int64 { Int64(64 + bytes.count) }
}

extension [FileName] {
    /// Bytes that the path takes in a set.
    var memorySize: Int64 { reduce(64) { $0 + $1.memorySize } }
}
