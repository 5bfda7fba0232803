internal import Archive
internal import Kernel

/// Result of looking up one component of a path.
enum WalkStep<Storage> {
    case directory(DirectoryNode<Storage>)
    case symlink(target: [UInt8])
}

extension DirectoryNode {
    /// Resolves the path of a directory from this root. Symlinks are followed and cannot lead out of the root.
    ///
    /// - Parameters:
    ///   - path: the path of the entry, for errors.
    ///   - last: the result for an earlier entry; the components that both paths share are not looked up again.
    ///   - lookUp: looks up a name in a directory.
    func walk(
        _ components: ArraySlice<FileName>, of path: EntryPath, after last: PathWalk<Storage>? = nil,
        _ lookUp: (FileName, DirectoryNode) throws -> WalkStep<Storage>
    ) throws -> PathWalk<Storage> {
        let start = last?.shared(with: components)
        var node = start?.node ?? self
        var rest = PathComponents(
            components.dropFirst(start?.path.count ?? 0), symlinks: start?.links ?? 0)
        var count: Int64 = 0
        while let component = rest.next() {
            count += 1
            switch component {
            case .parent: node = node.parent ?? self
            case .tooLong:
                throw LayerFailure(refusing: path, "a symlink on its path has a component over 255 bytes")
            case .name(let name):
                switch try lookUp(name, node) {
                case .directory(let next): node = next
                case .symlink(let target):
                    guard let target = rest.follow(target) else {
                        throw LayerFailure(refusing: path, "too many symlinks on its path")
                    }
                    if target.isAbsolute { node = self }
                    for case .name(let name) in target.components where Whiteout.isReserved(name) {
                        throw LayerFailure(refusing: path, "a symlink on its path leads to a whiteout")
                    }
                }
            }
        }
        return PathWalk(path: components, node: node, links: rest.symlinks, steps: count + node.distance)
    }
}

/// The result of a walk.
struct PathWalk<Storage> {
    let path: ArraySlice<FileName>
    let node: DirectoryNode<Storage>
    /// Number of symlinks that were followed.
    let links: Int
    /// Steps of the walk (`Budget.Limits.steps`).
    let steps: Int64

    init(path: ArraySlice<FileName>, node: DirectoryNode<Storage>, links: Int, steps: Int64) {
        self.path = path
        self.node = node
        self.links = links
        self.steps = steps
    }

    /// Returns the walk of the components that another path shares. Nil if it is unknown: after a symlink, the
    /// directories above the last one are not those of the path.
    fileprivate func shared(with other: ArraySlice<FileName>) -> PathWalk? {
        let count = zip(path, other).prefix { $0 == $1 }.count
        if count == path.count { return self }
        guard links == 0 else { return nil }
        var node = node
        for _ in count..<path.count {
            guard let parent = node.parent else { return nil }
            node = parent
        }
        return PathWalk(path: path.prefix(count), node: node, links: 0, steps: 0)
    }
}
