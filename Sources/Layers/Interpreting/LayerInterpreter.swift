internal import Archive
internal import Kernel

/// Interprets the entries of one layer in the archive's order, so that the merged tree depends on the layers alone. The
/// rules are those of `docs/spec-notes.md`; they exist here only, whatever the layer is applied to.
struct LayerInterpreter<Sink: EntrySink>: LayerVisitor {
    typealias Node = Sink.Node

    var sink: Sink
    private(set) var entries = 0
    private let account: Budget.Account

    /// Result of the last entry's path: most archives are sorted by directory.
    private var lastWalk: PathWalk<Sink.Storage>?

    /// Symlinks of the layers below that paths of entries traversed, by their paths in the merged tree.
    private var traversedSymlinks = Set<[FileName]>()
    /// Those of them that this layer hides or replaces by a directory: the entries must not traverse them.
    private(set) var staleSymlinks = Set<[FileName]>()
    /// The stale symlinks of earlier passes over the layer.
    private let ignoredSymlinks: Set<[FileName]>
    /// The first refusal, final unless a symlink was stale.
    private var refusal: LayerFailure?
    private(set) var accounts: AccountResolver

    init(_ pass: LayerPasses.Pass, into sink: Sink) {
        self.sink = sink
        account = pass.account
        ignoredSymlinks = pass.ignoredSymlinks
        accounts = AccountResolver(pass.accounts)
    }

    /// Applies one entry, whose data the reader provides.
    ///
    /// - Throws: `StaleAssumption`, `LayerFailure`, `Budget.Excess`, and errors of the sink.
    mutating func take(_ entry: Entry, from reader: inout LayerReader) throws {
        entries += 1
        try account.addEntry()
        if try sink.prepareForEntry(entries - 1) { lastWalk = nil }
        do {
            try apply(try accounts.resolveNames(in: entry), from: &reader)
        } catch let failure as LayerFailure {
            guard case .refused = failure.cause else { throw failure }
            try postpone(failure.located(at: entry))
        }
    }

    /// Keeps a refusal until the end of the layer: if the entry traversed a symlink of the layers below that the
    /// layer hides later, it has another path and may be valid.
    private mutating func postpone(_ failure: LayerFailure) throws {
        // The sink may have replaced a symlink before it refused the entry.
        lastWalk = nil
        try sink.waitForLower()
        if traversedSymlinks.isEmpty { throw failure }
        refusal = refusal ?? failure
    }

    mutating func endEntries() throws {
        staleSymlinks.formUnion(sink.tree.root.hidden(of: traversedSymlinks))
        if staleSymlinks.isEmpty, let refusal { throw refusal }
        lastWalk = nil
    }

    private mutating func apply(_ entry: Entry, from reader: inout LayerReader) throws {
        let whiteout = try Whiteout(entry)
        guard let name = entry.path.name else {
            guard entry.content == .directory else {
                throw LayerFailure(refusing: entry.path, "the root of a layer can only be a directory")
            }
            try describe(sink.tree.root, entry)
            sink.didApply(.directory, nil, in: sink.tree.root)
            return
        }
        if case .bookkeeping = whiteout { return }
        let parent = try resolve(entry.path)
        switch whiteout {
        case .opaque:
            parent.isOpaque = true
            sink.didApply(.opaque, nil, in: parent)
        case .hide(let hidden):
            try sink.tree.addWhiteout(of: hidden, in: parent)
            sink.didApply(.whiteout, hidden, in: parent)
        case .none, .pseudoLink, .bookkeeping:
            try sink.makeImplicit(parent)
            try apply(entry, as: name, in: parent, from: &reader)
        }
    }

    private mutating func apply(
        _ entry: Entry, as name: FileName, in parent: Node, from reader: inout LayerReader
    ) throws {
        // The entry may replace a symlink that the parent was resolved through.
        if !traversedSymlinks.isEmpty, entry.content != .directory { lastWalk = nil }
        switch entry.content {
        case .directory:
            if !traversedSymlinks.isEmpty, traversedSymlinks.contains(parent.path + [name]) {
                staleSymlinks.insert(parent.path + [name])
            }
            let node = try sink.node(name, of: parent)
            try describe(node, entry)
            if !node.exists { dropLastWalk(if: try sink.makeDirectory(node)) }
            node.exists = true
            sink.didApply(.directory, name, in: parent)
        case .hardLink(let target):
            try link(name, in: parent, to: target, entry)
            sink.didApply(.hardLink(to: target), name, in: parent)
        case .character(DeviceNumber(major: 0, minor: 0)):
            try removeDirectory(name, in: parent)
            sink.writer.warn(.overlayControl, entry: entry.path, "character device 0:0")
            dropLastWalk(if: try sink.removeFile(name, in: parent))
            sink.didApply(.nothing, name, in: parent)
        case .regular, .symlink, .fifo, .character, .block:
            try removeDirectory(name, in: parent)
            dropLastWalk(if: try sink.create(name, in: parent, entry, from: &reader))
            sink.didApply(.file, name, in: parent)
        }
    }

    /// Drops the last result if a file was replaced, which may be a symlink that the result depends on.
    private mutating func dropLastWalk(if hasReplaced: Bool) {
        if hasReplaced { lastWalk = nil }
    }

    private mutating func describe(_ node: Node, _ entry: Entry) throws {
        try sink.tree.describe(node, entry.metadata)
    }

    // MARK: Replacing

    /// Removes the directory that this layer has under a name, before a file replaces it. The names that the
    /// directory hides stay hidden.
    private mutating func removeDirectory(_ name: FileName, in parent: Node) throws {
        guard let node = try sink.ownNode(name, of: parent) else { return }
        lastWalk = nil
        var nodes = [node]
        var index = 0
        while index < nodes.count {
            nodes += nodes[index].children.values
            index += 1
        }
        try account.step(Int64(nodes.count))
        let existed = node.exists
        // The deepest come first, so that a directory that no longer hides anything is dropped with its content.
        for current in nodes.reversed() {
            current.exists = false
            try sink.tree.describe(current, nil)
            guard sink.seesLower, current.hidesNothing else { continue }
            // Until the layers below are known, the node stays: it records the assumption that they have no symlink
            // there.
            try sink.tree.drop(current)
            if current !== node, let name = current.name { current.parent?.children[name] = nil }
        }
        try sink.removeTree(node, nodes, existed: existed)
        if sink.seesLower, node.hidesNothing { parent.children[name] = nil }
    }

    // MARK: Paths

    /// Returns the parent directory of an entry in the merged tree: symlinks of this layer and of those below are
    /// followed inside the root. A directory that this layer does not have is not created yet.
    private mutating func resolve(_ path: EntryPath) throws -> Node {
        let walk = try walk(path.parent, of: path, after: lastWalk)
        lastWalk = walk
        return walk.node
    }

    private mutating func walk(
        _ components: ArraySlice<FileName>, of path: EntryPath, after last: PathWalk<Sink.Storage>? = nil
    ) throws -> PathWalk<Sink.Storage> {
        let walk = try sink.tree.root.walk(components, of: path, after: last) { name, node in
            if let next = node.children[name], next.exists { return .directory(next) }
            if let target = try symlinkTarget(name, in: node, of: path) { return .symlink(target: target) }
            return .directory(try sink.node(name, of: node))
        }
        try account.step(walk.steps)
        return walk
    }

    /// Returns the target if the merged tree has a symlink of that name; nil if this layer has a directory there.
    ///
    /// - Throws: `LayerFailure` if this layer has another file of that name.
    private mutating func symlinkTarget(
        _ name: FileName, in node: Node, of path: EntryPath
    ) throws -> [UInt8]? {
        if node.exists {
            switch try sink.lookUp(name, in: node) {
            case .missing: break
            case .symlink(let target): return target
            case .directory: return nil
            case .other: throw LayerFailure(refusing: path, "'\(name)' on its path is not a directory")
            }
        }
        guard case .symlink(let symlink) = try sink.lookUpLower(name, in: node), !node.isHidden(name) else {
            return nil
        }
        let linkPath = node.path + [name]
        if ignoredSymlinks.contains(linkPath) { return nil }
        if traversedSymlinks.insert(linkPath).inserted { try sink.tree.reserveMemory(linkPath.memorySize) }
        return try sink.target(of: symlink)
    }

    // MARK: Hard links

    private mutating func link(
        _ name: FileName, in parent: Node, to target: EntryPath, _ entry: Entry
    ) throws {
        let path = entry.path
        guard let targetName = target.name else {
            throw LayerFailure(refusing: path, "a hard link to the root")
        }
        if target.components.contains(where: Whiteout.isReserved),
            target.components[0] != Whiteout.pseudoLinkDirectory
        {
            throw LayerFailure(refusing: path, "a hard link to '\(target)', the name of a whiteout")
        }
        let targetParent = try walk(target.parent, of: target).node
        if try sink.ownNode(targetName, of: targetParent)?.exists == true {
            throw LayerFailure(refusing: path, "a hard link to the directory '\(target)'")
        }
        if let replaced = parent.children[name], targetParent.isWithin(replaced) {
            throw LayerFailure(refusing: path, "a hard link to '\(target)', which it would replace")
        }
        var source = LinkSource<Sink.Storage, Sink.LowerFile>.own(targetName, in: targetParent)
        if try !sink.has(targetName, in: targetParent) {
            try sink.waitForLower()
            switch try sink.lookUpLower(targetName, in: targetParent) {
            case .file(let file), .symlink(let file): source = .lower(file, targetName, in: targetParent)
            case .missing, .directory:
                throw LayerFailure(
                    refusing: path, "a hard link to '\(target)', which is no file of this layer or below")
            }
        } else if targetParent === parent, targetName == name {
            source = .itself
        }
        if case .itself = source {} else { try removeDirectory(name, in: parent) }
        dropLastWalk(if: try sink.link(source, as: name, in: parent, entry))
    }
}

extension DirectoryNode {
    /// Whether neither the directory nor one below it hides a name of the layers below.
    fileprivate var hidesNothing: Bool { children.isEmpty && !isOpaque && whiteouts.isEmpty }
}
