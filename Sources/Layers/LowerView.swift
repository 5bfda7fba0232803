package import Kernel

/// The layers below the one that is applied, as one tree: read-only, in user space, without a mount.
///
/// It reads back what this room writes: whiteouts of both forms, and opaque marks.
package struct LowerView: Sendable {
    let root: MergedDirectory

    /// - Parameter layers: their directories, topmost first; none for the lowest layer.
    package init(_ layers: [Directory], _ marks: OverlayMarks = .own) {
        root = MergedDirectory(layers, marks)
    }

    /// With one more layer on top.
    package func adding(_ layer: Directory) -> LowerView { LowerView([layer] + root.layers, root.marks) }

    var isEmpty: Bool { root.layers.isEmpty }

    /// What the merged tree has at a path of real directories; a symlink on the way is not followed.
    func lookUp(_ components: some Collection<FileName>) throws(SyscallFailure) -> LowerFile {
        var directory = root
        var found = LowerFile.directory(root)
        for name in components {
            guard case .directory(let next) = found else { return .missing }
            directory = next
            found = try directory.lookUp(name)
        }
        return found
    }

    func directory(_ components: some Collection<FileName>) throws(SyscallFailure) -> MergedDirectory? {
        if case .directory(let directory) = try lookUp(components), !directory.layers.isEmpty {
            return directory
        }
        return nil
    }
}

/// What a name is in the merged tree.
enum LowerFile {
    case missing
    case directory(MergedDirectory)
    /// Anything else, in the layer that shows it.
    case file(Directory, FileStatus)

    var isSymlink: Bool {
        if case .file(_, let status) = self { return status.kind == .symlink }
        return false
    }
}

/// One directory of the merged tree: the same directory in all layers that contribute to it, topmost first.
struct MergedDirectory: Sendable {
    let layers: [Directory]
    let marks: OverlayMarks

    init(_ layers: [Directory], _ marks: OverlayMarks) {
        self.layers = layers
        self.marks = marks
    }

    func lookUp(_ name: FileName) throws(SyscallFailure) -> LowerFile {
        var merged = [Directory]()
        for layer in layers {
            guard let status = try layer.status(of: name) else { continue }
            guard status.isDirectory else {
                // A file ends the search: it is what shows, or it hides what lies below.
                if merged.isEmpty, try !layer.isWhiteout(name, status, marks) { return .file(layer, status) }
                break
            }
            let directory = try layer.open(name)
            merged.append(directory)
            if try directory.isOpaque(marks) { break }
        }
        return merged.isEmpty ? .missing : .directory(MergedDirectory(merged, marks))
    }

    /// Nil unless a directory shows.
    func directory(_ name: FileName) throws(SyscallFailure) -> MergedDirectory? {
        guard case .directory(let directory) = try lookUp(name) else { return nil }
        return directory
    }

    /// All names that show, in no order.
    func names() throws(SyscallFailure) -> Set<FileName> {
        var shown = Set<FileName>()
        for (name, layers) in try holders() {
            if case .missing = try MergedDirectory(layers, marks).lookUp(name) { continue }
            shown.insert(name)
        }
        return shown
    }

    /// Lends all names that a layer has here, each once and in no order, with what they show.
    func forEachName(_ body: (FileName, LowerFile) throws -> Void) throws {
        for (name, layers) in try holders() {
            try body(name, try MergedDirectory(layers, marks).lookUp(name))
        }
    }

    /// The layers that have each name: it need not be looked up in the others.
    private func holders() throws(SyscallFailure) -> [FileName: [Directory]] {
        var holders = [FileName: [Directory]]()
        for layer in layers {
            for name in try layer.names() { holders[name, default: []].append(layer) }
        }
        // The layer that is being applied, while it lies in the tree that it looks at.
        holders[.stagedLayer] = nil
        return holders
    }
}

extension OpenPath<MergedDirectory> {
    mutating func deepest() throws(SyscallFailure) -> MergedDirectory {
        try deepest { (directory, name) throws(SyscallFailure) in
            guard let next = try directory.directory(name) else {
                throw SyscallFailure("openat", path: "\(name)", code: 2)
            }
            return next
        }
    }
}
