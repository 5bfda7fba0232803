internal import Archive
internal import Kernel
internal import Streams

/// What one layer says, gathered entry by entry over the tree of the layers below, which stays as it is until
/// `ImageTree.lay` lays the one over the other. So a whiteout cannot take what its own layer brings.
///
/// It follows the same rules as `LayerApplier`, which does the same on a disk (`docs/spec-notes.md`).
struct LayerOutline: LayerVisitor {
    let number: Int32
    private var below: ImageTree
    /// Directories of this layer, and those in which it only hides something.
    let root = DirectoryNode(name: nil, parent: nil, exists: true)
    /// Files of this layer; their ids come behind those of the layers below.
    private(set) var files = [ImageTree.File]()
    private(set) var data = [ImageTree.Data]()
    /// Files of the layers below that this layer's hard links have said something about.
    private(set) var changed = [ImageTree.FileID: ImageTree.File]()
    private(set) var writer = MetadataWriter()
    private(set) var entries = 0

    /// What the layer did about one path that somebody asks for.
    private(set) var watch: PathWatch?
    private let wantsDigests: Bool
    private let account: Budget.Account
    private let memory: TreeMemory

    /// The parent of the entry before: archives are sorted by directory.
    private var last: PathWalk?
    /// As `LayerApplier` has them.
    private var followed = Set<[FileName]>()
    private(set) var misread = Set<[FileName]>()
    private let known: Set<[FileName]>
    private(set) var accounts: AccountNumbers
    private var refusal: LayerFailure?

    var warnings: [LayerWarning] { writer.warnings.values.sorted { $0.kind.rawValue < $1.kind.rawValue } }

    init(
        number: Int, over below: ImageTree, known: Set<[FileName]>, accounts: ImageAccounts?,
        watching path: [FileName]?,
        digests: Bool, account: Budget.Account, memory: TreeMemory
    ) {
        self.number = Int32(number)
        self.below = below
        root.lowerID = ImageTree.root
        self.known = known
        self.accounts = AccountNumbers(accounts)
        watch = path.map { PathWatch($0, file: below.lookUp($0)) }
        wantsDigests = digests
        self.account = account
        self.memory = memory
    }

    /// Lets go of the tree below, so that it can be changed in place. No entry can be taken any more.
    mutating func release() { below = ImageTree() }

    private var origin: ImageTree.Origin { ImageTree.Origin(layer: number, entry: Int32(entries - 1)) }

    mutating func take(_ entry: Entry, from reader: inout LayerReader) throws {
        entries += 1
        try account.addEntry()
        let entryNumber = Int32(entries - 1)
        watch?.entry = entryNumber
        do {
            try place(try accounts.number(entry), from: &reader)
        } catch let failure as LayerFailure {
            guard case .refused = failure.cause, !followed.isEmpty else { throw failure }
            refusal = refusal ?? failure.placed(at: entry)
        }
    }

    mutating func endEntries() throws {
        misread.formUnion(root.hidden(of: followed))
        if misread.isEmpty, let refusal { throw refusal }
    }

    private mutating func place(_ entry: Entry, from reader: inout LayerReader) throws {
        let whiteout = try Whiteout(entry)
        guard let name = entry.path.name else {
            guard entry.content == .directory else {
                throw LayerFailure(refusing: entry.path, "the root of a layer can only be a directory")
            }
            try describe(root, entry)
            watch?.note(.directory, at: root)
            return
        }
        switch whiteout {
        case .none, .kept: break
        case .bookkeeping: return
        case .opaque:
            let parent = try resolve(entry.path)
            parent.isOpaque = true
            watch?.note(.opaque, at: parent)
            return
        case .hide(let hidden):
            let parent = try resolve(entry.path)
            if parent.whiteouts.insert(hidden).inserted { try memory.add(LayerApplier.cost(of: hidden)) }
            watch?.note(.whiteout, at: hidden, in: parent)
            return
        }
        let parent = try resolve(entry.path)
        makeExist(parent)
        switch entry.content {
        case .directory:
            try placeDirectory(name, in: parent, entry)
            watch?.note(.directory, at: name, in: parent)
        case .hardLink(let target):
            if !followed.isEmpty { last = nil }
            let id = try link(name, in: parent, to: target, entry)
            watch?.note(.hardLink(to: target, id), at: name, in: parent)
        default:
            if !followed.isEmpty { last = nil }
            try removeDirectory(name, in: parent)
            try create(name, in: parent, entry, from: &reader)
        }
    }

    /// A directory that something is in is the layer's own, whether an entry lists it or not.
    private func makeExist(_ node: DirectoryNode) {
        var next: DirectoryNode? = node
        while let node = next, !node.exists {
            node.exists = true
            next = node.parent
        }
    }

    // MARK: Where an entry goes

    private mutating func resolve(_ path: EntryPath) throws -> DirectoryNode {
        let walk = try walk(path.parent, of: path, after: last)
        last = walk
        return walk.node
    }

    private mutating func walk(
        _ components: ArraySlice<FileName>, of path: EntryPath, after last: PathWalk? = nil
    ) throws -> PathWalk {
        let walk = try root.walk(components, of: path, after: last) { name, node in
            if let next = node.children[name], next.exists { return .directory(next) }
            if let target = try linkTarget(name, in: node, of: path) { return .link(target) }
            return .directory(try child(name, of: node))
        }
        try account.step(walk.steps)
        return walk
    }

    private mutating func linkTarget(
        _ name: FileName, in node: DirectoryNode, of path: EntryPath
    ) throws -> [UInt8]? {
        if node.exists, let id = node.files[name] {
            guard case .symlink(let target) = self[id].content else {
                throw LayerFailure(refusing: path, "'\(name)' on its path is not a directory")
            }
            return target
        }
        guard number > 1, let id = node.lowerID.flatMap({ below.child(name, of: $0) }),
            case .symlink(let target) = below[id].content, !node.isHidden(name)
        else { return nil }
        let place = node.path + [name]
        if known.contains(place) { return nil }
        if followed.insert(place).inserted { try memory.add(LayerApplier.cost(of: place)) }
        return target
    }

    private func child(_ name: FileName, of parent: DirectoryNode) throws -> DirectoryNode {
        if let child = parent.children[name] { return child }
        let child = DirectoryNode(name: name, parent: parent, exists: false)
        child.lowerID = parent.lowerID.flatMap { below.child(name, of: $0) }
        guard child.depth <= LayerTree.maximumDepth else {
            throw LayerFailure(.refused("more than \(LayerTree.maximumDepth) directories deep"))
        }
        try memory.add(LayerApplier.cost(of: name) + DirectoryNode.cost)
        parent.children[name] = child
        return child
    }

    // MARK: What comes there

    private subscript(id: ImageTree.FileID) -> ImageTree.File {
        let own = Int(id.index) - below.files.count
        return own >= 0 ? files[own] : changed[id] ?? below[id]
    }

    private mutating func describe(_ node: DirectoryNode, _ entry: Entry) throws {
        let metadata = try writer.result(of: entry.metadata, entry: entry.path)
        try memory.add(metadata.attributesSize)
        node.metadata = metadata
        node.entry = origin.entry
    }

    private mutating func placeDirectory(_ name: FileName, in parent: DirectoryNode, _ entry: Entry) throws {
        if !followed.isEmpty, followed.contains(parent.path + [name]) { misread.insert(parent.path + [name]) }
        let node = try child(name, of: parent)
        try describe(node, entry)
        node.exists = true
        if parent.files.removeValue(forKey: name) != nil { last = nil }
    }

    /// Makes room for a file where this layer has a directory. What that hides stays hidden.
    private mutating func removeDirectory(_ name: FileName, in parent: DirectoryNode) throws {
        guard let node = parent.children[name] else { return }
        last = nil
        var pending = [node]
        while let node = pending.popLast() {
            try account.step(1)
            node.exists = false
            node.metadata = nil
            node.entry = nil
            node.files = [:]
            pending += node.children.values
        }
    }

    private mutating func put(_ id: ImageTree.FileID, as name: FileName, in parent: DirectoryNode) throws {
        // It may be a symlink that the parent was resolved through.
        if parent.files.updateValue(id, forKey: name) != nil { last = nil }
        try memory.add(LayerApplier.cost(of: name) + ImageTree.costOfName)
    }

    private mutating func create(
        _ name: FileName, in parent: DirectoryNode, _ entry: Entry, from reader: inout LayerReader
    ) throws {
        var detail: Int32 = -1
        let content: ImageTree.Content
        switch entry.content {
        case .regular(let size):
            content = .regular(size: size)
            if let told = try read(size: size, from: &reader) {
                detail = Int32(below.data.count + data.count)
                data.append(told)
            }
        case .symlink(let target): content = .symlink(target)
        case .fifo: content = .fifo
        case .character(DeviceNumber(major: 0, minor: 0)):
            writer.warn(.overlayControl, entry: entry.path, "character device 0:0")
            if parent.files.removeValue(forKey: name) != nil { last = nil }
            watch?.note(.nothing, at: name, in: parent)
            return
        case .character(let device): content = .character(device)
        case .block(let device): content = .block(device)
        case .directory, .hardLink:
            throw LayerFailure(
                refusing: entry.path, "internal error: not a kind of file that is created here")
        }
        let metadata = try writer.result(
            of: entry.metadata, isSymlink: content.isSymlink, takesUserAttributes: content.isRegular,
            entry: entry.path)
        let id = ImageTree.FileID(index: Int32(below.files.count + files.count))
        files.append(ImageTree.File(content: content, metadata: metadata, origin: origin, detail: detail))
        try memory.add(ImageTree.cost + content.cost + metadata.attributesSize)
        try put(id, as: name, in: parent)
        watch?.note(.file(content, id), at: name, in: parent)
    }

    /// Passes over a file's data.
    ///
    /// - Returns: nil if there is nothing to remember about it.
    private mutating func read(size: Int64, from reader: inout LayerReader) throws -> ImageTree.Data? {
        var digester = wantsDigests ? ContentDigester() : nil
        var ranges = [Range<Int64>]()
        var written: Int64 = 0
        while try reader.nextData({ (offset: Int64, bytes: RawSpan) throws in
            digester?.update(bytes, at: offset)
            let end = offset + Int64(bytes.byteCount)
            written += Int64(bytes.byteCount)
            if let last = ranges.last, last.upperBound == offset {
                ranges[ranges.count - 1] = last.lowerBound..<end
            } else if end > offset {
                ranges.append(offset..<end)
            }
        }) {}
        try account.write(written)
        let isWhole = written == size
        if isWhole, digester == nil { return nil }
        try memory.add(64 + (isWhole ? 0 : Int64(32 + 16 * ranges.count)))
        return ImageTree.Data(digest: digester?.finish(size: size), ranges: isWhole ? nil : ranges)
    }

    // MARK: Hard links

    private mutating func link(
        _ name: FileName, in parent: DirectoryNode, to target: EntryPath, _ entry: Entry
    ) throws -> ImageTree.FileID {
        let path = entry.path
        guard let targetName = target.name else {
            throw LayerFailure(refusing: path, "a hard link to the root")
        }
        if target.components.contains(where: Whiteout.isReserved), target.components[0] != Whiteout.keptFolder
        {
            throw LayerFailure(refusing: path, "a hard link to '\(target)', the name of a whiteout")
        }
        let targetParent = try walk(target.parent, of: target).node
        if targetParent.children[targetName]?.exists == true {
            throw LayerFailure(refusing: path, "a hard link to the directory '\(target)'")
        }
        if let replaced = parent.children[name], targetParent.stands(in: replaced) {
            throw LayerFailure(refusing: path, "a hard link to '\(target)', which it would replace")
        }
        let own = targetParent.exists ? targetParent.files[targetName] : nil
        guard let id = own ?? targetParent.lowerID.flatMap({ below.child(targetName, of: $0) }),
            !self[id].isDirectory
        else {
            throw LayerFailure(
                refusing: path, "a hard link to '\(target)', which is no file of this layer or below")
        }
        if own == nil || targetParent !== parent || targetName != name {
            try removeDirectory(name, in: parent)
            try put(id, as: name, in: parent)
        }
        try changeFile(id, entry)
        return id
    }

    private mutating func changeFile(_ id: ImageTree.FileID, _ entry: Entry) throws {
        var file = self[id]
        file.metadata = try writer.result(
            of: entry.metadata, onto: file.metadata, isSymlink: file.content.isSymlink,
            takesUserAttributes: file.content.isRegular, entry: entry.path)
        try memory.add(file.metadata.attributesSize)
        let own = Int(id.index) - below.files.count
        if own >= 0 {
            files[own] = file
        } else if changed.updateValue(file, forKey: id) == nil {
            try memory.add(ImageTree.cost)
        }
    }
}

extension ImageTree.Content {
    var isSymlink: Bool {
        if case .symlink = self { return true }
        return false
    }

    var isRegular: Bool {
        if case .regular = self { return true }
        return false
    }

    /// Bytes that it takes beside its place.
    fileprivate var cost: Int64 {
        if case .symlink(let target) = self { return Int64(48 + target.count) }
        return 0
    }
}

extension ImageTree {
    /// Bytes of a file, which is there twice while its layer is laid, and of a name of one without the name's own.
    fileprivate static let cost: Int64 = 200
    fileprivate static let costOfName: Int64 = 48
}
