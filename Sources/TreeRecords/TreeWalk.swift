package import Kernel

/// A walk through all paths below a directory, each directory before its content and names in the order of their
/// bytes: the order does not depend on the file system.
///
/// Anchored at descriptors: no symlink is followed. The walk keeps a list of names for each level and a bounded number
/// of descriptors, whatever the depth of the tree.
package struct TreeWalk {
    /// One path of the tree.
    package struct Entry {
        package let parent: Directory
        /// Nil for the root.
        package let name: FileName?
        /// Number of names from the root; 0 for the root itself.
        package let depth: Int
        package let status: FileStatus
        /// The opened directory; nil for other types.
        package let directory: Directory?
    }

    package enum Step {
        case entry(Entry)
        /// A path that was removed after its directory was read.
        case vanished
        /// A path that cannot be read; nothing below it is visited.
        case unreadable(SyscallFailure)
    }

    private struct Level {
        /// Names that are still to be visited, the last one first.
        var names: [FileName]
        let pathLength: Int
        let escapedLength: Int
    }

    private let root: Directory
    private var way: DirectoryStack<Directory>
    private let isOrdered: Bool
    private var levels = [Level]()
    private var isBegun = false
    /// The path of the last step, `.` or `./a/b`, unescaped; `escapedPath` is as in mtree(5).
    package private(set) var path = [UInt8(ascii: ".")]
    private(set) var escapedPath = [UInt8(ascii: ".")]

    /// - Parameter isOrdered: whether names are sorted by their bytes; otherwise they have the file system's order.
    package init(_ root: Directory, isOrdered: Bool = true) {
        self.root = root
        way = DirectoryStack(root)
        self.isOrdered = isOrdered
    }

    /// - Returns: nil at the end.
    package mutating func next() -> Step? {
        do {
            guard isBegun else {
                isBegun = true
                let status = try root.file.status()
                try descend(root, nil)
                return .entry(Entry(parent: root, name: nil, depth: 0, status: status, directory: root))
            }
            while let last = levels.indices.last {
                path.removeLast(path.count - levels[last].pathLength)
                escapedPath.removeLast(escapedPath.count - levels[last].escapedLength)
                guard let name = levels[last].names.popLast() else {
                    ascend()
                    continue
                }
                path.append(UInt8(ascii: "/"))
                path += name.bytes
                escapedPath.append(UInt8(ascii: "/"))
                TreeLine.escape(name.bytes, onto: &escapedPath)
                return try visit(name).map(Step.entry) ?? .vanished
            }
            return nil
        } catch {
            return .unreadable(error)
        }
    }

    /// Skips the content of the directory that `next()` has just returned.
    mutating func skipContents() { ascend() }

    private mutating func ascend() {
        levels.removeLast()
        if way.depth > 0 { way.pop() }
    }

    /// - Returns: nil if the name was removed after its directory was read.
    private mutating func visit(_ name: FileName) throws(SyscallFailure) -> Entry? {
        let parent = try way.deepest()
        let depth = levels.count
        guard let status = try parent.status(of: name) else {
            return nil
        }
        guard status.isDirectory else {
            return Entry(parent: parent, name: name, depth: depth, status: status, directory: nil)
        }
        let directory = try parent.open(name)
        try descend(directory, name)
        // The status of the opened directory: another process may have replaced the name.
        return Entry(
            parent: parent, name: name, depth: depth, status: try directory.file.status(),
            directory: directory)
    }

    private mutating func descend(_ directory: Directory, _ name: FileName?) throws(SyscallFailure) {
        var names = try directory.names()
        if isOrdered { names.sort { $1.bytes.lexicographicallyPrecedes($0.bytes) } }
        levels.append(
            Level(names: names, pathLength: path.count, escapedLength: escapedPath.count))
        if let name { way.push(name, directory) }
    }
}
