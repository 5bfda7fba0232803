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

    /// Whether the layer has it: an entry lists it, or one stands in it.
    var exists: Bool
    /// Of its own entry; nil for an implicit directory.
    fileprivate(set) var metadata: Metadata?
    /// `.wh..wh..opq`: the layers below show nothing here.
    var isOpaque = false
    /// Names X of `.wh.X`.
    fileprivate(set) var whiteouts = Set<FileName>()

    /// Steps that the path from the root to this directory takes (`Budget.Limits.steps`).
    let distance: Int64

    /// What the sink keeps with it.
    var storage: Storage

    init(name: FileName?, parent: DirectoryNode?, exists: Bool, storage: Storage) {
        self.name = name
        above = parent
        self.exists = exists
        self.storage = storage
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

    /// Nil for the root. Not to be read of a directory that was removed.
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

    /// Whether it is the directory, or below it.
    func isWithin(_ directory: DirectoryNode) -> Bool {
        var node: DirectoryNode? = self
        while let next = node {
            if next === directory { return true }
            node = next.parent
        }
        return false
    }

    /// Whether the layer hides what the layers below have under a name here.
    func hides(_ name: FileName) -> Bool { isOpaque || whiteouts.contains(name) }

    /// Whether the layer hides the file of a name that the layers below have here, or one of the directories above it.
    func isHidden(_ name: FileName) -> Bool {
        if hides(name) { return true }
        var node = self
        while let own = node.name, let parent = node.parent {
            if parent.hides(own) { return true }
            node = parent
        }
        return false
    }

    /// Those of some paths of the layers below that this layer hides, seen from this root.
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

    /// - Throws: a refusal of a directory that is too deep; `Budget.Excess`.
    mutating func add(
        _ name: FileName, to parent: Node, exists: Bool, storage: Storage
    ) throws -> Node {
        let node = Node(name: name, parent: parent, exists: exists, storage: storage)
        guard node.depth <= TreeLimits.depth else {
            throw LayerFailure(.refused("more than \(TreeLimits.depth) directories deep"))
        }
        try remember(name.memorySize + TreeLimits.directorySize)
        count += 1
        parent.children[name] = node
        return node
    }

    /// Records the metadata of a directory's entry; nil drops it.
    mutating func describe(_ node: Node, _ metadata: Metadata?) throws(Budget.Excess) {
        let change = (metadata?.attributesSize ?? 0) - (node.metadata?.attributesSize ?? 0)
        node.metadata = metadata
        attributeBytes += change
        try remember(change)
    }

    mutating func addWhiteout(of name: FileName, in node: Node) throws(Budget.Excess) {
        if node.whiteouts.insert(name).inserted { try remember(name.memorySize) }
    }

    func addWhiteouts(of names: Set<FileName>, in node: Node) { node.whiteouts.formUnion(names) }

    /// Stops tracking a directory. The caller removes it from its parent.
    mutating func drop(_ node: Node) throws(Budget.Excess) {
        // A list of open directories may keep the node for a while.
        try describe(node, nil)
        count -= 1
        memory.forget((node.name?.memorySize ?? 0) + TreeLimits.directorySize)
    }

    func remember(_ bytes: Int64) throws(Budget.Excess) { try memory.remember(bytes) }

    /// What is tracked, in directories: attributes count as the directories that take as much memory.
    var weight: Int { count + Int(attributeBytes / TreeLimits.directorySize) }
}

enum TreeLimits {
    /// Directories in one another: far beyond PATH_MAX. It bounds what one path takes; no function recurses over it.
    static let depth = 4096
    /// Symlinks on the way of one path, as many as the kernel follows (path_resolution(7)).
    static let symlinks = 40
    /// Bytes of memory that a tracked directory takes without its name and attributes.
    static let directorySize: Int64 = 240
}

/// Counts bytes of memory against a limit.
protocol MemoryLimit: Sendable {
    func remember(_ bytes: Int64) throws(Budget.Excess)
    func forget(_ bytes: Int64)
}

extension Budget.Account: MemoryLimit {}
extension TreeMemory: MemoryLimit {}

extension FileName {
    /// Bytes that it takes in a set or a dictionary: an array of its own, and a third of the places empty.
    var memorySize: Int64 { Int64(64 + bytes.count) }
}

extension [FileName] {
    /// Bytes that the path takes in a set.
    var memorySize: Int64 { reduce(64) { $0 + $1.memorySize } }
}
