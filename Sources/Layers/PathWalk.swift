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

    /// Where components lead from a root: symlinks are followed, and stay inside.
    ///
    /// - Parameter look: tells what a name in a directory is.
    func walk(
        _ components: [FileName], of path: EntryPath, _ look: (FileName, DirectoryNode) throws -> WalkStep
    ) throws -> DirectoryNode {
        var node = self
        var steps = components.reversed().map(Step.down)
        var links = 0
        while let step = steps.popLast() {
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
        return node
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
        guard let own = self.name, let parent else { return false }
        return parent.isHidden(own)
    }
}
