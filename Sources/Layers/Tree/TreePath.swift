package import Kernel

/// A path in a tree that shares the memory of its upper components with other paths.
///
/// The memory for the paths of all files of a tree grows with the number of names, not with the square of the depth.
package struct TreePath: Hashable, Sendable {
    /// `partSize` upper components. A path of 4096 components has 64 parts, which bounds the recursion of `deinit`.
    private final class Part: Sendable {
        let above: Part?
        let names: [FileName]
        /// Number of components from the root to the end of this part.
        let count: Int

        init(above: Part?, names: [FileName]) {
            self.above = above
            self.names = names
            count = (above?.count ?? 0) + names.count
        }
    }

    private static let partSize = 64

    private let above: Part?
    /// The lowest components, `partSize` at most.
    private let names: [FileName]

    private init(above: Part?, names: [FileName]) {
        self.above = above
        self.names = names
    }

    package init(_ components: [FileName] = []) {
        var path = TreePath(above: nil, names: [])
        for name in components { path = path.appending(name) }
        self = path
    }

    package var count: Int { (above?.count ?? 0) + names.count }
    /// Nil for the root.
    package var last: FileName? { names.last }

    package func appending(_ name: FileName) -> TreePath {
        names.count < Self.partSize
            ? TreePath(above: above, names: names + [name])
            : TreePath(above: Part(above: above, names: names), names: [name])
    }

    /// The path of the parent directory; the root is its own parent.
    package var parent: TreePath {
        if names.count == 1, let above { return TreePath(above: above.above, names: above.names) }
        return TreePath(above: above, names: names.dropLast())
    }

    /// From the root down.
    package var components: [FileName] {
        var parts = [names]
        var next = above
        while let part = next {
            parts.append(part.names)
            next = part.above
        }
        return Array(parts.reversed().joined())
    }

    package static func == (left: TreePath, right: TreePath) -> Bool {
        guard left.names == right.names else { return false }
        var (a, b) = (left.above, right.above)
        while let one = a, let other = b {
            if one === other { return true }
            guard one.names == other.names else { return false }
            (a, b) = (one.above, other.above)
        }
        return a == nil && b == nil
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(count)
        hasher.combine(names)
    }
}
