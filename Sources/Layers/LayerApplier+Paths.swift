internal import Archive
internal import Kernel

/// Where an entry goes.
extension LayerApplier {
    /// The directory that an entry's name stands in, by the merged tree: symlinks of this layer and of those
    /// below are followed inside the root. A directory that this layer does not have is not made yet.
    mutating func resolve(_ path: EntryPath) throws -> DirectoryNode {
        if let last, last.path.elementsEqual(path.parent) { return last.node }
        let parent = Array(path.parent)
        let node = try walk(parent, of: path)
        last = (parent, node)
        return node
    }

    /// One step of a walk. A symlink's target has `..`, which a `FileName` cannot be.
    private enum Step {
        case up
        case down(FileName)
    }

    /// As many links as the kernel follows at most (path_resolution(7)).
    private static let maximumLinks = 40

    mutating func walk(_ components: [FileName], of path: EntryPath) throws -> DirectoryNode {
        var node = tree.root
        var steps = components.reversed().map(Step.down)
        var links = 0
        while let step = steps.popLast() {
            guard case .down(let name) = step else {
                node = node.parent ?? tree.root
                continue
            }
            if let next = node.children[name], next.exists {
                node = next
                continue
            }
            if let target = try linkTarget(name, in: node, of: path) {
                links += 1
                guard links <= Self.maximumLinks else {
                    throw LayerFailure(refusing: path, "too many symlinks on its path")
                }
                if target.first == UInt8(ascii: "/") { node = tree.root }
                for part in target.split(separator: UInt8(ascii: "/")).reversed() {
                    if let name = FileName(part) {
                        if Whiteout.isReserved(name) {
                            throw LayerFailure(refusing: path, "a symlink on its path leads to a whiteout")
                        }
                        steps.append(.down(name))
                    } else if part.count == 2 {
                        steps.append(.up)
                    } else if part.count > FileName.maximumLength {
                        throw LayerFailure(
                            refusing: path, "a symlink on its path has a component over 255 bytes")
                    }
                }
                continue
            }
            node = try child(name, of: node)
        }
        return node
    }

    /// Where a name that is no directory of this layer leads, if it is a symlink.
    private mutating func linkTarget(
        _ name: FileName, in node: DirectoryNode, of path: EntryPath
    ) throws -> [UInt8]? {
        if node.exists {
            let directory = try tree.open(node)
            if let status = try directory.status(of: name) {
                switch status.kind {
                case .symlink: return try directory.readLink(name)
                case .directory: return nil
                default: throw LayerFailure(refusing: path, "'\(name)' on its path is not a directory")
                }
            }
        }
        guard let lower, !lower.isEmpty, !isHidden(name, in: node) else { return nil }
        let place = node.path + [name]
        guard !known.contains(place), case .file(let layer, let status) = try lower.lookUp(place),
            status.kind == .symlink
        else { return nil }
        if followed.insert(place).inserted { try account.remember(Self.cost(of: place)) }
        return try layer.readLink(name)
    }

    /// The node of a directory that this layer touches, made if there is none.
    mutating func child(_ name: FileName, of parent: DirectoryNode) throws -> DirectoryNode {
        if let child = try ownDirectory(name, in: parent) { return child }
        return try addNode(name, in: parent, exists: false)
    }

    /// The node of a directory that this layer has; nil if it has none of that name, or a file.
    mutating func ownDirectory(_ name: FileName, in parent: DirectoryNode) throws -> DirectoryNode? {
        if let child = parent.children[name] { return child }
        guard hasSettled, parent.exists, try tree.open(parent).status(of: name)?.isDirectory == true else {
            return nil
        }
        return try unsettle(name, in: parent)
    }

    mutating func addNode(
        _ name: FileName, in parent: DirectoryNode, exists: Bool
    ) throws -> DirectoryNode {
        let child = DirectoryNode(name: name, parent: parent, exists: exists)
        guard child.depth <= LayerTree.maximumDepth else {
            throw LayerFailure(.refused("more than \(LayerTree.maximumDepth) directories deep"))
        }
        try account.remember(Self.cost(of: name) + DirectoryNode.cost)
        nodes += 1
        parent.children[name] = child
        return child
    }

    /// Remembers what an entry says of a directory.
    mutating func describe(_ node: DirectoryNode, _ metadata: Metadata?) throws {
        let change = (metadata?.attributesSize ?? 0) - (node.metadata?.attributesSize ?? 0)
        node.metadata = metadata
        attributes += change
        try account.remember(change)
    }

    /// Bytes to remember a name in a set or a dictionary: an array of its own, and a third of the places empty.
    static func cost(of name: FileName) -> Int64 { Int64(64 + name.bytes.count) }

    static func cost(of path: [FileName]) -> Int64 { path.reduce(64) { $0 + cost(of: $1) } }

    mutating func forget(_ node: DirectoryNode) throws {
        nodes -= 1
        account.forget((node.name.map(Self.cost) ?? 0) + DirectoryNode.cost)
        // The list of open directories may hold on to it for a while.
        try describe(node, nil)
    }

    /// Whether this layer hides the lower layers' file of a name, or one of the directories that it stands
    /// in.
    func isHidden(_ name: FileName, in node: DirectoryNode) -> Bool {
        if node.hides(name) { return true }
        guard let own = node.name, let parent = node.parent else { return false }
        return isHidden(own, in: parent)
    }
}
