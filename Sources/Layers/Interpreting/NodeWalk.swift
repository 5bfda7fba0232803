internal import Kernel

/// A walk through the directories that a layer affects, with those that the layers below show at the same paths.
///
/// It does not recurse, and it keeps a bounded number of descriptors open (`DirectoryStack`). It also visits
/// directories that the caller removes from the layer during the walk.
struct NodeWalk<Storage> {
    typealias Node = DirectoryNode<Storage>

    /// `lower` is the directory that the layers below show there; nil if there is none, or the layer hides it.
    enum Step {
        /// Before the entries of the directory.
        case enter(Node, lower: MergedDirectory?)
        /// After its entries.
        case leave(Node, lower: MergedDirectory?)
    }

    private struct Frame {
        let node: Node
        let hasLower: Bool
        /// Subdirectories still to be visited; nil until the caller has got the `enter` step.
        var children: [Node]?
    }

    private var frames: [Frame]
    private var lowers: DirectoryStack<MergedDirectory>
    /// The path of the directory of the last step. A node computes its path from the root, which for each directory
    /// of a deep tree takes quadratic time.
    private(set) var path = [FileName]()
    /// Whether `path` still ends with a directory that was left.
    private var isPathStale = false
    private var hasStarted = false

    /// - Parameter lower: the root of the layers below; nil if there are none.
    init(_ root: Node, over lower: MergedDirectory?) {
        frames = [Frame(node: root, hasLower: lower != nil)]
        lowers = DirectoryStack(lower ?? MergedDirectory([], .own), weight: lower?.layers.count ?? 1)
    }

    /// - Returns: nil at the end.
    mutating func next() throws -> Step? {
        guard let index = frames.indices.last else { return nil }
        if isPathStale {
            path.removeLast()
            isPathStale = false
        }
        let node = frames[index].node
        let lower = frames[index].hasLower ? try lowers.deepest() : nil
        guard hasStarted else {
            hasStarted = true
            return .enter(node, lower: lower)
        }
        if frames[index].children == nil { frames[index].children = Array(node.children.values) }
        guard let child = frames[index].children?.popLast(), let name = child.name else {
            skip()
            return .leave(node, lower: lower)
        }
        let shown = try node.shown(name, of: lower)
        if let shown { lowers.push(name, shown) }
        frames.append(Frame(node: child, hasLower: shown != nil))
        path.append(name)
        return .enter(child, lower: shown)
    }

    /// Skips the entries of the directory that was entered last, and its `leave` step.
    mutating func skip() {
        guard let frame = frames.popLast() else { return }
        isPathStale = !path.isEmpty
        if frame.hasLower, lowers.depth > 0 { lowers.pop() }
    }
}

extension DirectoryNode {
    /// Returns the directory that the layers below show under a name here; nil if there is none, or this layer hides
    /// it.
    ///
    /// - Parameter below: the directory of the layers below at this path.
    func shown(_ name: FileName, of below: MergedDirectory?) throws -> MergedDirectory? {
        guard let below, !hides(name), case .directory(let directory) = try below.lookUp(name) else {
            return nil
        }
        return directory
    }
}
