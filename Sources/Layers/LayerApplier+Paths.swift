internal import Archive
internal import Kernel

/// Where an entry goes.
extension LayerApplier {
    /// The directory that an entry's name stands in, by the merged tree: symlinks of this layer and of those
    /// below are followed inside the root. A directory that this layer does not have is not made yet.
    mutating func resolve(_ path: EntryPath) throws -> DirectoryNode {
        let walk = try walk(path.parent, of: path, after: last)
        last = walk
        return walk.node
    }

    mutating func walk(
        _ components: ArraySlice<FileName>, of path: EntryPath, after last: PathWalk? = nil
    ) throws -> PathWalk {
        let walk = try tree.root.walk(components, of: path, after: last) { name, node in
            if let next = node.children[name], next.exists { return .directory(next) }
            if let target = try linkTarget(name, in: node, of: path) { return .link(target) }
            return .directory(try child(name, of: node))
        }
        try account.step(walk.steps + tree.takeSteps())
        return walk
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
        guard let lower, !lower.isEmpty,
            case .file(let layer, let status)? = try tree.lower(of: node, in: lower)?.lookUp(name),
            status.kind == .symlink, !node.isHidden(name)
        else { return nil }
        let place = node.path + [name]
        if known.contains(place) { return nil }
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
}
