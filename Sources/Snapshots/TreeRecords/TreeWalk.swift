internal import Kernel
internal import SystemPackage

/// All paths below a directory, each directory before what is in it, names in the order of their bytes: the same order
/// for the same tree, whatever the file system gives first.
///
/// Anchored at descriptors: no symlink is followed. A tree of any depth takes a list of names a level and a bounded
/// number of descriptors.
struct TreeWalk {
    /// One path, as `next()` finds it.
    struct Entry {
        let parent: Directory
        /// Nil for the root.
        let name: FileName?
        let status: FileStatus
        /// The directory itself, if it is one.
        let directory: Directory?
    }

    enum Step {
        case entry(Entry)
        /// What cannot be looked at; nothing below it is visited.
        case unreadable(SyscallFailure)
    }

    private struct Level {
        /// What is still to visit, last one first.
        var names: [FileName]
        let pathLength: Int
        let escapedLength: Int
    }

    private let root: Directory
    private var way: OpenPath<Directory>
    private let isOrdered: Bool
    private var levels = [Level]()
    private var isBegun = false
    /// Of the last step, `.` or `./a/b`: as it is, and as mtree(5) writes it.
    private(set) var path = [UInt8(ascii: ".")]
    private(set) var escapedPath = [UInt8(ascii: ".")]

    /// - Parameter isOrdered: whether names come in the order of their bytes, and not in the file system's.
    init(_ root: Directory, isOrdered: Bool = true) {
        self.root = root
        way = OpenPath(root)
        self.isOrdered = isOrdered
    }

    /// - Returns: nil at the end.
    mutating func next() -> Step? {
        do {
            guard isBegun else {
                isBegun = true
                let status = try root.file.status()
                try descend(root, nil)
                return .entry(Entry(parent: root, name: nil, status: status, directory: root))
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
                return .entry(try look(at: name))
            }
            return nil
        } catch {
            return .unreadable(error)
        }
    }

    /// Leaves out what is in the directory that `next()` has just returned.
    mutating func skipContents() { ascend() }

    private mutating func ascend() {
        levels.removeLast()
        if way.depth > 0 { way.ascend() }
    }

    private mutating func look(at name: FileName) throws(SyscallFailure) -> Entry {
        let parent = try way.deepest()
        guard let status = try parent.status(of: name) else {
            throw SyscallFailure("fstatat", path: name.description, errno: .noSuchFileOrDirectory)
        }
        guard status.isDirectory else {
            return Entry(parent: parent, name: name, status: status, directory: nil)
        }
        let directory = try parent.open(name)
        try descend(directory, name)
        // The status of the opened directory: the name may lead elsewhere by now.
        return Entry(parent: parent, name: name, status: try directory.file.status(), directory: directory)
    }

    private mutating func descend(_ directory: Directory, _ name: FileName?) throws(SyscallFailure) {
        var names = try directory.names()
        if isOrdered { names.sort { $1.bytes.lexicographicallyPrecedes($0.bytes) } }
        levels.append(
            Level(names: names, pathLength: path.count, escapedLength: escapedPath.count))
        if let name { way.descend(to: name, directory) }
    }
}
