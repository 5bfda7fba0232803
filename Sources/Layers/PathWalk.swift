internal import Archive
internal import Kernel

/// What a name is on the way to somewhere else.
enum WalkStep {
    case directory(DirectoryNode)
    /// A symlink, with its target.
    case link([UInt8])
}

extension DirectoryNode {
    /// One step of a walk. A symlink's target has `..`, which a `FileName` cannot be.
    private enum Step {
        case up
        case down(FileName)
    }

    /// As many links as the kernel follows at most (path_resolution(7)).
    static let maximumLinks = 40

    /// Where the directory of an entry is, seen from this root: symlinks are followed, and stay inside.
    ///
    /// - Parameters:
    ///   - last: the result for an entry before; what both paths share is not looked up again.
    ///   - look: returns what a name in a directory is.
    func walk(
        _ components: ArraySlice<FileName>, of path: EntryPath, after last: PathWalk? = nil,
        _ look: (FileName, DirectoryNode) throws -> WalkStep
    ) throws -> PathWalk {
        let start = last?.shared(with: components)
        var node = start?.node ?? self
        var steps = components.dropFirst(start?.path.count ?? 0).reversed().map(Step.down)
        var links = start?.links ?? 0
        var count: Int64 = 0
        while let step = steps.popLast() {
            count += 1
            guard case .down(let name) = step else {
                node = node.parent ?? self
                continue
            }
            switch try look(name, node) {
            case .directory(let next): node = next
            case .link(let target):
                links += 1
                guard links <= Self.maximumLinks else {
                    throw LayerFailure(refusing: path, "too many symlinks on its path")
                }
                if target.first == UInt8(ascii: "/") { node = self }
                steps += try Self.steps(of: target, on: path)
            }
        }
        return PathWalk(path: components, node: node, links: links, steps: count + node.distance)
    }

    /// Of a symlink's target, the first one last.
    private static func steps(of target: [UInt8], on path: EntryPath) throws(LayerFailure) -> [Step] {
        var steps = [Step]()
        for part in target.split(separator: UInt8(ascii: "/")).reversed() {
            if let name = FileName(part) {
                if Whiteout.isReserved(name) {
                    throw LayerFailure(refusing: path, "a symlink on its path leads to a whiteout")
                }
                steps.append(.down(name))
            } else if part.count == 2 {
                steps.append(.up)
            } else if part.count > FileName.maximumLength {
                throw LayerFailure(refusing: path, "a symlink on its path has a component over 255 bytes")
            }
        }
        return steps
    }

    /// Whether this layer hides the lower layers' file of a name, or one of the directories that it stands
    /// in.
    func isHidden(_ name: FileName) -> Bool {
        if hides(name) { return true }
        var node = self
        while let own = node.name, let parent = node.parent {
            if parent.hides(own) { return true }
            node = parent
        }
        return false
    }

    /// Those of some paths of the lower layers that this layer hides, seen from this root: at the end of a layer, in one pass
    /// for all of them.
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

/// Where a path has led.
struct PathWalk {
    let path: ArraySlice<FileName>
    let node: DirectoryNode
    /// Symlinks that were followed.
    let links: Int
    /// What it has taken (`Budget.Limits.steps`).
    let steps: Int64

    init(path: ArraySlice<FileName>, node: DirectoryNode, links: Int, steps: Int64) {
        self.path = path
        self.node = node
        self.links = links
        self.steps = steps
    }

    /// As much of it as another path begins with, too: archives are sorted by directory. Nil if that is not known: where a
    /// symlink was followed, the directories above the last one are others than the path's.
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
