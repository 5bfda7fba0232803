internal import Archive
internal import Kernel
internal import Streams

/// A sink that stores a layer as overlayfs reads it, with whiteouts and opaque marks. The layers below may be applied
/// at the same time.
protocol OverlaySink: EntrySink where Storage: LowerCaching, LowerFile == LowerSource {
    /// Identifies a copied-up file.
    associatedtype Copy

    var account: Budget.Account { get }
    var cancellation: Cancellation { get }
    var lowerLayers: LowerLayers<Storage> { get set }
    /// Metadata of the root, if no entry lists it and there is no layer below.
    var plainRoot: Metadata { get }
    /// Files of the layers below that hard links have copied up.
    var copiedUp: [FileStatus.Identity: CopiedUpFile<Copy>] { get set }

    /// Gives a copied-up file a name that the layer does not have.
    mutating func link(_ copy: Copy, as name: FileName, in node: Node) throws

    /// Creates a whiteout under a name that the layer does not have, and the directory if it does not exist.
    mutating func makeWhiteout(of name: FileName, in node: Node) throws

    /// Sets the metadata of a directory that exists. Nothing may be created in it afterwards.
    mutating func finishDirectory(
        _ node: Node, at path: [FileName], _ metadata: Metadata, _ state: OverlayDirectory
    ) throws
}

/// A file of the layers below.
struct LowerSource {
    let layer: LayerDirectory
    let name: FileName
    let status: FileStatus
}

/// A file of the layers below that a hard link has copied into this layer.
struct CopiedUpFile<Copy> {
    let copy: Copy
    /// One of its paths in the layers below.
    let path: [FileName]
    let hasMoreNames: Bool
}

/// What overlayfs has to know of a directory.
struct OverlayDirectory {
    /// Whether it hides the directory that the layers below have at its path.
    var isOpaque = false
    /// Whether whiteouts were created in it.
    var holdsWhiteouts = false
    /// Whether a whiteout of the same name hides a directory of the layers below, which this one replaces.
    fileprivate let replacesLower: Bool
    /// Names of the subdirectories that replace a lower one in this way.
    fileprivate var replacing = Set<FileName>()
}

// MARK: The layers below

extension OverlaySink {
    var seesLower: Bool { lowerLayers.view != nil }

    mutating func waitForLower() throws { _ = try lowerView() }

    /// Returns the layers below, and waits for them if they are not known yet.
    ///
    /// - Throws: errors of `LowerLayers.wait`.
    mutating func lowerView() throws -> LowerView { try lowerLayers.wait(for: tree.root) }

    mutating func lookUpLower(_ name: FileName, in node: Node) throws -> LowerName<LowerSource> {
        switch try lowerLayers.lookUp(name, in: node) {
        case .missing: return .missing
        case .directory: return .directory
        case .file(let layer, let status):
            let source = LowerSource(layer: layer, name: name, status: status)
            return status.kind == .symlink ? .symlink(source) : .file(source)
        }
    }

    func target(of symlink: LowerSource) throws -> [UInt8] { try symlink.layer.readLink(symlink.name) }

    /// Polls for cancellation, and counts a step.
    func poll() throws {
        try cancellation.check()
        try account.step(1)
    }
}

// MARK: The end of the layer

extension OverlaySink {
    /// Removes AUFS's pseudo-link directory, completes the copied-up files, writes the whiteouts that hide something,
    /// and sets the metadata of every directory, deepest first.
    ///
    /// - Throws: errors of `lowerView`, for which it waits.
    mutating func finishDirectories() throws {
        lowerLayers.close()
        let lower = try lowerView()
        if let node = try ownNode(Whiteout.pseudoLinkDirectory, of: tree.root) {
            tree.root.children[Whiteout.pseudoLinkDirectory] = nil
            try removeTree(node, [node], existed: node.exists)
        } else {
            _ = try removeFile(Whiteout.pseudoLinkDirectory, in: tree.root)
        }
        try completeLinkGroups(of: lower)
        var walk = NodeWalk(tree.root, over: lower.isEmpty ? nil : lower.root)
        var states = [OverlayDirectory]()
        while let step = try walk.next() {
            try poll()
            switch step {
            case .enter(let node, let lower):
                // The layer has a file or a whiteout of that name; the node only hides names of the layers below.
                if !node.exists, let name = node.name, let parent = node.parent, try has(name, in: parent) {
                    walk.skip()
                    continue
                }
                let replacesLower = node.name.map { states.last?.replacing.contains($0) == true } ?? false
                states.append(try writeWhiteouts(in: node, lower, replacesLower: replacesLower))
            case .leave(let node, let lower):
                if let state = states.popLast() { try finish(node, at: walk.path, lower, state) }
            }
        }
    }

    /// - Parameter below: the directory of the layers below at this path, unless this layer hides it.
    private mutating func writeWhiteouts(
        in node: Node, _ below: MergedDirectory?, replacesLower: Bool
    ) throws -> OverlayDirectory {
        var state = OverlayDirectory(replacesLower: replacesLower)
        // The kernel ignores an opaque mark on an overlay's root: each name of the layers below gets a whiteout there.
        if node.isOpaque, node === tree.root, let below {
            for name in try below.names() { try tree.addWhiteout(of: name, in: node) }
        }
        // In an opaque directory whiteouts hide nothing, and a device there would show (kernel: overlayfs.rst).
        let whiteouts = node.isOpaque && node !== tree.root ? [] : node.whiteouts
        for name in whiteouts {
            guard let below else { break }
            try poll()
            let hidden = try below.lookUp(name)
            if case .missing = hidden { continue }
            if let child = try ownNode(name, of: node) {
                if case .directory = hidden, child.exists { state.replacing.insert(name) }
                if child.exists { continue }
            }
            if try has(name, in: node) { continue }
            try makeWhiteout(of: name, in: node)
            state.holdsWhiteouts = true
        }
        return state
    }

    private mutating func finish(
        _ node: Node, at path: [FileName], _ below: MergedDirectory?, _ state: OverlayDirectory
    ) throws {
        var state = state
        state.isOpaque = state.replacesLower || (node.isOpaque && below != nil && node !== tree.root)
        if state.isOpaque { try makeImplicit(node) }
        guard node.exists else { return }
        let plain = node === tree.root ? plainRoot : .implicit
        try finishDirectory(node, at: path, try node.metadata ?? below?.metadata() ?? plain, state)
    }

    // MARK: Hard links to files of the layers below

    /// Gives each copied-up file all names under which the layers below show it: overlay copies a file up under one
    /// name only, which would split a hard-link group.
    private mutating func completeLinkGroups(of lower: LowerView) throws {
        if copiedUp.isEmpty { return }
        for file in copiedUp.values { try link(file, at: file.path) }
        guard copiedUp.values.contains(where: \.hasMoreNames) else { return }
        let copiedUp = copiedUp
        try lower.forEachFile { status, path in
            try poll()
            if let file = copiedUp[status.identity] { try link(file, at: path()) }
        }
    }

    /// Links a copied-up file to a path of the layers below, unless this layer hides the path, or has a file at it or
    /// in place of a directory above it.
    private mutating func link(_ file: CopiedUpFile<Copy>, at path: [FileName]) throws {
        guard let name = path.last else { return }
        try cancellation.check()
        try account.step(Int64(path.count))
        var node = tree.root
        for component in path.dropLast() {
            if node.hides(component) { return }
            if let own = try ownNode(component, of: node), own.exists {
                node = own
                continue
            }
            if try has(component, in: node) { return }
            node = try self.node(component, of: node)
        }
        if node.hides(name) { return }
        if try has(name, in: node) { return }
        try link(file.copy, as: name, in: node)
    }
}

extension Metadata {
    /// Metadata of a directory that no entry lists and no layer below has.
    static let implicit = Metadata(uid: 0, gid: 0, mode: 0o755, modificationTime: .epoch)
}
