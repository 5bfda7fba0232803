internal import Kernel

/// A walk through the directories that a layer touches, beside those that the layers below show at the same places.
///
/// It does not recurse, and it takes a bounded number of descriptors (`OpenPath`). Directories that the caller removes from the
/// layer on the way are visited all the same.
struct NodeWalk {
    /// `lower` is what the layers below show there, nil for nothing: the layer may hide it.
    enum Step {
        /// Before what is in the directory.
        case enter(DirectoryNode, lower: MergedDirectory?)
        /// After what is in it.
        case leave(DirectoryNode, lower: MergedDirectory?)
    }

    private struct Frame {
        let node: DirectoryNode
        let hasLower: Bool
        /// Still to be visited; nil until the caller has seen the directory.
        var children: [DirectoryNode]?
    }

    private var frames: [Frame]
    private var lowers: OpenPath<MergedDirectory>
    /// The path of the directory of the last step. A node computes its path from the root, which for each directory of a
    /// deep tree takes quadratic time.
    private(set) var path = [FileName]()
    /// Whether `path` still ends with a directory that was left.
    private var isPathStale = false
    private var isBegun = false

    /// - Parameter lower: of the root; nil if nothing shows there.
    init(_ root: DirectoryNode, over lower: MergedDirectory?) {
        frames = [Frame(node: root, hasLower: lower != nil)]
        lowers = OpenPath(lower ?? MergedDirectory([], .own), weight: lower?.layers.count ?? 1)
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
        guard isBegun else {
            isBegun = true
            return .enter(node, lower: lower)
        }
        if frames[index].children == nil { frames[index].children = Array(node.children.values) }
        guard let child = frames[index].children?.popLast(), let name = child.name else {
            skip()
            return .leave(node, lower: lower)
        }
        let shown = try node.shown(name, of: lower)
        if let shown { lowers.descend(to: name, shown) }
        frames.append(Frame(node: child, hasLower: shown != nil))
        path.append(name)
        return .enter(child, lower: shown)
    }

    /// Leaves out what is in the directory that was entered last; it is not left either.
    mutating func skip() {
        guard let frame = frames.popLast() else { return }
        isPathStale = !path.isEmpty
        if frame.hasLower, lowers.depth > 0 { lowers.ascend() }
    }
}
