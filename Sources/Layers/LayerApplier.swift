internal import Archive
internal import Kernel

/// Applies the entries of one layer to one directory, in the archive's order, so that the merged tree depends
/// on the layers alone. `docs/spec-notes.md` has the rules.
///
/// Directories stay 0700 and owned by us until `finish`: nothing below one can inherit a group, a setgid bit
/// or a default ACL from it, and its times are not touched any more.
struct LayerApplier {
    private var tree: LayerTree
    private let lower: LowerView
    private var writer = MetadataWriter()
    private(set) var entries = 0
    /// The parent of the entry before: archives are sorted by directory.
    private var last: (path: [FileName], node: DirectoryNode)?

    var warnings: [LayerWarning] { writer.warnings.values.sorted { $0.kind.rawValue < $1.kind.rawValue } }

    init(directory: Directory, lower: LowerView) {
        tree = LayerTree(directory)
        self.lower = lower
    }

    /// Applies one entry; its data comes from the reader.
    mutating func apply(_ entry: Entry, from reader: inout LayerReader) throws {
        entries += 1
        let whiteout = try Whiteout(entry.path)
        guard let name = entry.path.name else {
            guard entry.content == .directory else {
                throw LayerFailure(refusing: entry.path, "the root of a layer can only be a directory")
            }
            tree.root.metadata = entry.metadata
            return
        }
        switch whiteout {
        case .none: break
        case .bookkeeping: return
        case .opaque:
            try resolve(entry.path).isOpaque = true
            return
        case .hide(let hidden):
            let parent = try resolve(entry.path)
            parent.whiteouts.insert(hidden)
            if parent.copiedUp.remove(hidden) != nil { try tree.open(parent).removeFile(hidden) }
            return
        }
        let parent = try resolve(entry.path)
        let directory = try tree.open(parent)
        if case .directory = entry.content {
            try applyDirectory(name, in: parent, directory, entry.metadata)
        } else if case .hardLink(let target) = entry.content {
            try applyLink(name, in: parent, directory, target: target, entry)
        } else {
            try removeDirectory(name, in: parent, directory)
            try create(name, in: directory, entry, from: &reader)
        }
        parent.copiedUp.remove(name)
    }

    // MARK: Where an entry goes

    /// The directory that an entry's name stands in, by the merged tree: symlinks of this layer and of those
    /// below are followed inside the root. A directory that this layer does not have is not made yet.
    private mutating func resolve(_ path: EntryPath) throws -> DirectoryNode {
        let parent = Array(path.parent)
        if let last, last.path == parent { return last.node }
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

    private mutating func walk(_ components: [FileName], of path: EntryPath) throws -> DirectoryNode {
        var node = tree.root
        var steps = components.reversed().map(Step.down)
        var links = 0
        while let step = steps.popLast() {
            guard case .down(let name) = step else {
                node = node.parent ?? tree.root
                continue
            }
            if let child = node.children[name] {
                node = child
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
            let child = DirectoryNode(name: name, parent: node, exists: false)
            guard child.depth <= LayerTree.maximumDepth else {
                throw LayerFailure(refusing: path, "more than \(LayerTree.maximumDepth) directories deep")
            }
            node.children[name] = child
            node = child
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
                guard status.kind == .symlink else {
                    throw LayerFailure(refusing: path, "'\(name)' on its path is not a directory")
                }
                return try directory.readLink(name)
            }
        }
        if lower.isEmpty || isHidden(name, in: node) { return nil }
        guard case .file(let layer, let status) = try lower.lookUp(node.path + [name]),
            status.kind == .symlink
        else {
            return nil
        }
        return try layer.readLink(name)
    }

    /// Whether this layer hides the lower layers' file of a name, or one of the directories that it stands
    /// in.
    private func isHidden(_ name: FileName, in node: DirectoryNode) -> Bool {
        if node.hides(name) { return true }
        guard let own = node.name, let parent = node.parent else { return false }
        return isHidden(own, in: parent)
    }

    // MARK: Creating

    private mutating func applyDirectory(
        _ name: FileName, in parent: DirectoryNode, _ directory: Directory, _ metadata: Metadata
    ) throws {
        let node: DirectoryNode
        if let child = parent.children[name] {
            node = child
        } else {
            node = DirectoryNode(name: name, parent: parent, exists: false)
            guard node.depth <= LayerTree.maximumDepth else {
                throw LayerFailure(.refused("more than \(LayerTree.maximumDepth) directories deep"))
            }
            parent.children[name] = node
        }
        node.metadata = metadata
        if node.exists { return }
        try replacing(name, in: directory) { try directory.makeDirectory(name, mode: 0o700) }
        node.exists = true
    }

    /// Makes room for a file where this layer has a directory.
    private mutating func removeDirectory(
        _ name: FileName, in parent: DirectoryNode, _ directory: Directory
    ) throws {
        guard let node = parent.children.removeValue(forKey: name) else { return }
        last = nil
        if node.exists { try directory.removeTree(name) }
    }

    /// Runs `make`, and once more without the file that stood in its way.
    private mutating func replacing(
        _ name: FileName, in directory: Directory, _ make: () throws -> Void
    ) throws {
        do {
            try make()
        } catch let failure as SyscallFailure where failure.isTaken {
            // It may be a symlink that the parent was resolved through.
            last = nil
            try directory.removeFile(name)
            try make()
        }
    }

    private mutating func create(
        _ name: FileName, in directory: Directory, _ entry: Entry, from reader: inout LayerReader
    ) throws {
        let metadata = entry.metadata
        let plainMode = metadata.mode & 0o777
        let path = entry.path.description
        switch entry.content {
        case .regular(let size):
            try createFile(name, in: directory, size: size, metadata, path, from: &reader)
        case .symlink(let target):
            try replacing(name, in: directory) { try directory.makeSymlink(name, target: target) }
            try writer.finishSpecial(name, in: directory, metadata, isSymlink: true, entry: path)
        case .fifo:
            try replacing(name, in: directory) { try directory.makeNode(name, .fifo, mode: plainMode) }
            try writer.finishSpecial(name, in: directory, metadata, isSymlink: false, entry: path)
        case .character(DeviceNumber(major: 0, minor: 0)):
            writer.warn(.overlayControl, entry: path, "character device 0:0")
            if try directory.status(of: name) != nil {
                last = nil
                try directory.removeFile(name)
            }
        case .character(let device):
            try replacing(name, in: directory) {
                try directory.makeNode(name, .character(device), mode: plainMode)
            }
            try writer.finishSpecial(name, in: directory, metadata, isSymlink: false, entry: path)
        case .block(let device):
            try replacing(name, in: directory) {
                try directory.makeNode(name, .block(device), mode: plainMode)
            }
            try writer.finishSpecial(name, in: directory, metadata, isSymlink: false, entry: path)
        case .directory, .hardLink:
            throw LayerFailure(
                refusing: entry.path, "internal error: not a kind of file that is created here")
        }
    }

    private mutating func createFile(
        _ name: FileName, in directory: Directory, size: Int64, _ metadata: Metadata, _ path: String,
        from reader: inout LayerReader
    ) throws {
        var file = try directory.createFile(name, mode: metadata.mode & 0o777)
        if file == nil {
            last = nil
            try directory.removeFile(name)
            file = try directory.createFile(name, mode: metadata.mode & 0o777)
        }
        guard let file else { throw SyscallFailure("openat", path: path, code: 17) }
        try fill(file, size: size, metadata, path, from: &reader)
    }

    private mutating func fill(
        _ file: consuming File, size: Int64, _ metadata: Metadata, _ path: String,
        from reader: inout LayerReader
    ) throws {
        var end: Int64 = 0
        let target = file
        while try reader.nextData({ (offset: Int64, bytes: RawSpan) throws(SyscallFailure) in
            try target.write(bytes, at: offset)
            end = offset + Int64(bytes.byteCount)
        }) {}
        if end < size { try target.truncate(to: size) }
        try writer.finishFile(target, metadata, entry: path)
        try target.close()
    }

    // MARK: Hard links

    private mutating func applyLink(
        _ name: FileName, in parent: DirectoryNode, _ directory: Directory, target: EntryPath, _ entry: Entry
    ) throws {
        let path = entry.path.description
        guard let targetName = target.name else {
            throw LayerFailure(refusing: entry.path, "a hard link to the root")
        }
        let targetParent = try walk(Array(target.parent), of: target)
        if targetParent.children[targetName]?.exists == true {
            throw LayerFailure(refusing: entry.path, "a hard link to the directory '\(target)'")
        }
        let isItself = targetParent === parent && targetName == name
        if targetParent.exists, try tree.open(targetParent).status(of: targetName) != nil {
            if !isItself {
                try removeDirectory(name, in: parent, directory)
                let source = try tree.open(targetParent)
                try replacing(name, in: directory) { try directory.link(targetName, of: source, as: name) }
            }
        } else {
            guard case .file(let layer, let status) = try lower.lookUp(targetParent.path + [targetName])
            else {
                throw LayerFailure(
                    refusing: entry.path,
                    "a hard link to '\(target)', which is no file of this layer or below")
            }
            try removeDirectory(name, in: parent, directory)
            try copyUp(targetName, of: targetParent, from: layer, status, linkedAs: name, in: parent)
        }
        try writer.finishLink(name, in: directory, entry.metadata, entry: path)
    }

    /// Brings a lower file into this layer as `name`, and with it all names that it has in the lower layers:
    /// a link group stays one, although overlay copies a file up under one name only.
    private mutating func copyUp(
        _ target: FileName, of targetParent: DirectoryNode, from layer: Directory, _ status: FileStatus,
        linkedAs name: FileName, in parent: DirectoryNode
    ) throws {
        let directory = try tree.open(parent)
        var writer = self.writer
        try replacing(name, in: directory) {
            try layer.copy(target, status, to: name, in: directory, finish: &writer)
        }
        self.writer = writer
        var names = [(targetParent, target)]
        if status.linkCount > 1 {
            for other in try lower.names(of: status.identity, in: layer) {
                guard let otherName = other.last else { continue }
                // Where this layer has something else on the way, the name does not show any more.
                if let node = try lowerNode(other.dropLast()) { names.append((node, otherName)) }
            }
        }
        for (node, other) in names where !isHidden(other, in: node) {
            let other = (node: node, name: other)
            let group = try tree.open(other.node)
            // What this layer has under that name stays.
            if try group.status(of: other.name) == nil {
                try group.link(name, of: directory, as: other.name)
                other.node.copiedUp.insert(other.name)
            }
        }
    }

    /// A directory of the layers below, whose names are no symlinks; nil where this layer has a file in its way.
    private mutating func lowerNode(_ components: some Sequence<FileName>) throws -> DirectoryNode? {
        var node = tree.root
        for name in components {
            if let child = node.children[name] {
                node = child
                continue
            }
            if node.exists, try tree.open(node).status(of: name) != nil { return nil }
            let child = DirectoryNode(name: name, parent: node, exists: false)
            node.children[name] = child
            node = child
        }
        return node
    }

    // MARK: The end

    /// Takes back the names of link groups that this layer turned out to hide, and the directories made for them.
    private mutating func withdrawHidden(in node: DirectoryNode, isHidden: Bool) throws {
        var hasRemoved = false
        for (name, child) in node.children where child.exists {
            try withdrawHidden(in: child, isHidden: isHidden || node.hides(name))
            hasRemoved = hasRemoved || !child.exists
        }
        for name in node.copiedUp where isHidden || node.hides(name) {
            try tree.open(node).removeFile(name)
            hasRemoved = true
        }
        guard hasRemoved, node.metadata == nil, node !== tree.root else { return }
        if try tree.open(node).names().isEmpty { try tree.remove(node) }
    }

    /// Writes the whiteouts that hide something, and completes every directory, deepest first.
    mutating func finish() throws {
        last = nil
        if !lower.isEmpty { try withdrawHidden(in: tree.root, isHidden: false) }
        try finish(tree.root, lower: lower.isEmpty ? nil : lower.root)
    }

    /// - Parameter below: the lower layers' directory at this place, unless this layer hides it.
    /// - Parameter replacesLower: whether it stands beside a whiteout of the same name that hides a
    ///   directory.
    private mutating func finish(
        _ node: DirectoryNode, lower below: MergedDirectory?, replacesLower: Bool = false
    ) throws {
        // The kernel does not look for an opaque mark on an overlay's root: there each lower name is hidden
        // by itself.
        if node.isOpaque, node === tree.root, let below { node.whiteouts.formUnion(try below.names()) }
        var replacing = Set<FileName>()
        // In an opaque directory they hide nothing more, and a device there would show (kernel: overlayfs.rst).
        let whiteouts = node.isOpaque && node !== tree.root ? [] : node.whiteouts
        for name in whiteouts {
            guard let below else { break }
            let hidden = try below.lookUp(name)
            if case .missing = hidden { continue }
            if let child = node.children[name] {
                if case .directory = hidden, child.exists { replacing.insert(name) }
                if child.exists { continue }
            }
            if node.exists, try tree.open(node).status(of: name) != nil { continue }
            try tree.open(node).makeWhiteout(name)
        }
        for (name, child) in node.children {
            var childBelow: MergedDirectory?
            if let below, !node.hides(name), case .directory(let directory) = try below.lookUp(name) {
                childBelow = directory
            }
            try finish(child, lower: childBelow, replacesLower: replacing.contains(name))
        }
        let marksOpaque = replacesLower || (node.isOpaque && below != nil && node !== tree.root)
        if marksOpaque { _ = try tree.open(node) }
        guard node.exists else { return }
        let metadata = try node.metadata ?? below?.metadata() ?? Metadata.implicit
        try writer.finishDirectory(
            try tree.open(node), metadata, isOpaque: marksOpaque, entry: EntryPath(node.path).description)
    }
}

extension Metadata {
    /// Of a directory that no entry lists and no lower layer has.
    static let implicit = Metadata(uid: 0, gid: 0, mode: 0o755, modificationTime: .epoch)
}
