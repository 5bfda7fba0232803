package import Kernel

/// The merged tree of the layers below the one that is applied: read-only, in user space, without a mount.
///
/// It interprets whiteouts of both forms and opaque marks, as this module writes them.
package struct LowerView: Sendable {
    let root: MergedDirectory

    /// - Parameter layers: their directories, topmost first; none for the lowest layer.
    package init(_ layers: [Directory], _ marks: OverlayMarks = .own) {
        root = MergedDirectory(layers.map(LayerDirectory.disk), marks)
    }

    /// - Parameter images: of the layers, topmost first; none for the lowest layer.
    /// - Throws: `.damagedImage`, `.system`.
    package init(images: [LayerImage]) throws(LayerFailure) {
        do {
            root = MergedDirectory(try images.map { .image(try $0.root()) }, .trusted)
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    private init(root: MergedDirectory) { self.root = root }

    /// Returns the view with one more layer on top.
    package func adding(topLayer layer: Directory) -> LowerView {
        LowerView(root: MergedDirectory([.disk(layer)] + root.layers, root.marks))
    }

    /// Returns the view with one more layer on top.
    package func adding(topLayer layer: LayerImage) throws -> LowerView {
        LowerView(root: MergedDirectory([.image(try layer.root())] + root.layers, root.marks))
    }

    var isEmpty: Bool { root.layers.isEmpty }

    /// Looks up a path in the merged tree. Symlinks are not followed.
    func lookUp(_ components: some Collection<FileName>) throws -> LowerFile {
        var directory = root
        var found = LowerFile.directory(root)
        for name in components {
            guard case .directory(let next) = found else { return .missing }
            directory = next
            found = try directory.lookUp(name)
        }
        return found
    }

    func directory(_ components: some Collection<FileName>) throws -> MergedDirectory? {
        if case .directory(let directory) = try lookUp(components), !directory.layers.isEmpty {
            return directory
        }
        return nil
    }
}

/// Result of looking up a name in the merged tree.
enum LowerFile {
    case missing
    case directory(MergedDirectory)
    /// Any other file; the directory of the layer that contains it, and its status.
    case file(LayerDirectory, FileStatus)

    var isSymlink: Bool {
        if case .file(_, let status) = self { return status.kind == .symlink }
        return false
    }
}

/// A directory of the merged tree: the same directory in all layers that contribute to it, topmost first.
struct MergedDirectory: Sendable {
    let layers: [LayerDirectory]
    let marks: OverlayMarks

    init(_ layers: [LayerDirectory], _ marks: OverlayMarks) {
        self.layers = layers
        self.marks = marks
    }

    func lookUp(_ name: FileName) throws -> LowerFile {
        var merged = [LayerDirectory]()
        for layer in layers {
            guard let status = try layer.status(of: name) else { continue }
            guard status.isDirectory else {
                // A file ends the search: it shows, or it hides the layers below.
                if merged.isEmpty, try !layer.isWhiteout(name, status, marks) { return .file(layer, status) }
                break
            }
            let directory = try layer.open(name)
            merged.append(directory)
            if try directory.isOpaque(marks) { break }
        }
        return merged.isEmpty ? .missing : .directory(MergedDirectory(merged, marks))
    }

    /// Returns the directory of that name; nil if there is none.
    func directory(_ name: FileName) throws -> MergedDirectory? {
        guard case .directory(let directory) = try lookUp(name) else { return nil }
        return directory
    }

    /// Names of all entries.
    func names() throws -> Set<FileName> {
        var shown = Set<FileName>()
        for (name, layers) in try layersByName() {
            if case .missing = try MergedDirectory(layers, marks).lookUp(name) { continue }
            shown.insert(name)
        }
        return shown
    }

    /// Calls `body` once for each name that a layer has here, in no defined order. `LowerFile` is `.missing` for a
    /// whiteout.
    func forEachName(_ body: (FileName, LowerFile) throws -> Void) throws {
        for (name, layers) in try layersByName() {
            try body(name, try MergedDirectory(layers, marks).lookUp(name))
        }
    }

    /// Maps each name to the layers that have it, so that it is not looked up in the others.
    private func layersByName() throws -> [FileName: [LayerDirectory]] {
        var layersByName = [FileName: [LayerDirectory]]()
        for layer in layers {
            for name in try layer.names() { layersByName[name, default: []].append(layer) }
        }
        // The staged layer is located in the tree that it is applied over.
        layersByName[.stagedLayer] = nil
        return layersByName
    }
}

extension DirectoryStack<MergedDirectory> {
    /// - Throws: `SyscallFailure`; `FileMismatch` if another process has removed or replaced a directory.
    mutating func deepest() throws -> MergedDirectory {
        try deepest { (directory, name) throws in
            guard let next = try directory.directory(name) else {
                throw FileMismatch.replaced(path: "\(name)")
            }
            return next
        }
    }
}
