internal import Archive
internal import Kernel
internal import Streams

/// Collects the files of one layer in memory. The tree of the layers below stays unchanged until `ImageTree.merge`
/// merges the layer onto it, so that a whiteout cannot remove a file of its own layer.
struct TreeSink: EntrySink {
    struct Storage {
        /// Names of files that are not directories.
        var files = [FileName: ImageTree.FileID]()
        /// Number of the entry that has listed the directory.
        var entry: Int32?
        /// The file that the layers below have at this path; nil if there is none.
        var lowerID: ImageTree.FileID?
    }

    let number: Int32
    var tree: LayerTree<Storage>
    var writer = MetadataWriter()
    private var below: ImageTree
    /// Files of this layer; their IDs follow those of the layers below.
    private(set) var files = [ImageTree.File]()
    private(set) var data = [ImageTree.Data]()
    /// Files of the layers below whose metadata this layer's hard links change.
    private(set) var changed = [ImageTree.FileID: ImageTree.File]()

    /// Records the entries that affect the path that the caller watches.
    private(set) var watch: PathWatch?
    private let wantsDigests: Bool
    private let account: Budget.Account
    private var entry: Int32 = 0

    init(
        number: Int, over below: ImageTree, tracking path: [FileName]?, digests: Bool,
        account: Budget.Account, memory: TreeMemory
    ) {
        self.number = Int32(number)
        self.below = below
        tree = LayerTree(root: Storage(lowerID: ImageTree.root), memory: memory)
        watch = path.map { PathWatch($0, file: below.lookUp($0)) }
        wantsDigests = digests
        self.account = account
    }

    /// Checks and filters the metadata of the directories that the layer has in the end.
    ///
    /// - Throws: a refusal; `Budget.Excess`.
    mutating func finish() throws {
        var pending = [tree.root]
        while let node = pending.popLast() {
            pending += node.children.values
            // Without attributes, nothing is refused or left out, and no path is needed.
            guard let metadata = node.metadata, !metadata.extendedAttributes.isEmpty else { continue }
            try tree.describe(node, try writer.result(of: metadata, entry: EntryPath(node.path)))
        }
    }

    /// Releases the tree below, so that it can be changed in place. No further entry can be applied.
    mutating func releaseLower() { below = ImageTree() }

    private var origin: ImageTree.Origin { ImageTree.Origin(layer: number, entry: entry) }

    private subscript(id: ImageTree.FileID) -> ImageTree.File {
        let own = Int(id.index) - below.files.count
        return own >= 0 ? files[own] : changed[id] ?? below[id]
    }

    mutating func prepareForEntry(_ number: Int) -> Bool {
        entry = Int32(number)
        watch?.entry = entry
        return false
    }

    // MARK: The layers below

    var seesLower: Bool { true }
    func waitForLower() {}

    func lookUpLower(_ name: FileName, in node: Node) -> LowerName<ImageTree.FileID> {
        guard let id = node.storage.lowerID.flatMap({ below.child(name, of: $0) }) else { return .missing }
        switch below[id].content {
        case .directory: return .directory
        case .symlink: return .symlink(id)
        default: return .file(id)
        }
    }

    func target(of symlink: ImageTree.FileID) -> [UInt8] { below[symlink].content.target ?? [] }

    // MARK: The layer's own names

    func makeStorage(of name: FileName, in parent: Node) -> Storage {
        Storage(lowerID: parent.storage.lowerID.flatMap { below.child(name, of: $0) })
    }

    func lookUp(_ name: FileName, in node: Node) -> OwnFile {
        guard let id = node.storage.files[name] else { return .missing }
        return self[id].content.target.map { .symlink(target: $0) } ?? .other
    }

    func makeImplicit(_ node: Node) {
        var next: Node? = node
        while let node = next, !node.exists {
            node.exists = true
            next = node.parent
        }
    }

    func has(_ name: FileName, in node: Node) -> Bool { node.exists && node.storage.files[name] != nil }

    func makeDirectory(_ node: Node) -> Bool {
        guard let parent = node.parent, let name = node.name else { return false }
        return removeFile(name, in: parent)
    }

    func removeFile(_ name: FileName, in node: Node) -> Bool {
        node.storage.files.removeValue(forKey: name) != nil
    }

    func removeTree(_ node: Node, _ nodes: [Node], existed: Bool) {
        for node in nodes {
            node.storage.files = [:]
            node.storage.entry = nil
        }
    }

    private func put(_ id: ImageTree.FileID, as name: FileName, in node: Node) throws -> Bool {
        try tree.reserveMemory(name.memorySize + ImageTree.costOfName)
        return node.storage.files.updateValue(id, forKey: name) != nil
    }

    mutating func create(
        _ name: FileName, in node: Node, _ entry: Entry, from reader: inout LayerReader
    ) throws -> Bool {
        var detail: Int32 = -1
        let content: ImageTree.Content
        switch entry.content {
        case .regular(let size):
            content = .regular(size: size)
            if let read = try read(size: size, from: &reader) {
                detail = Int32(below.data.count + data.count)
                data.append(read)
            }
        case .symlink(let target): content = .symlink(target)
        case .fifo: content = .fifo
        case .character(let device): content = .character(device)
        case .block(let device): content = .block(device)
        case .directory, .hardLink:
            throw InternalError("entry '\(entry.path)' cannot be created as a file")
        }
        let metadata = try writer.result(
            of: entry.metadata, isSymlink: content.target != nil, takesUserAttributes: content.isRegular,
            entry: entry.path)
        let id = ImageTree.FileID(index: Int32(below.files.count + files.count))
        files.append(ImageTree.File(content: content, metadata: metadata, origin: origin, detail: detail))
        try tree.reserveMemory(ImageTree.cost + content.cost + metadata.attributesSize)
        return try put(id, as: name, in: node)
    }

    /// Reads a file's data without keeping it.
    ///
    /// - Returns: nil if the file has no holes and no digest is requested.
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
        try tree.reserveMemory(64 + (isWhole ? 0 : Int64(32 + 16 * ranges.count)))
        return ImageTree.Data(digest: digester?.finish(size: size), ranges: isWhole ? nil : ranges)
    }

    mutating func link(
        _ source: LinkSource<Storage, ImageTree.FileID>, as name: FileName, in node: Node, _ entry: Entry
    ) throws -> Bool {
        let id: ImageTree.FileID?
        switch source {
        case .itself: id = node.storage.files[name]
        case .own(let ownName, in: let parent): id = parent.storage.files[ownName]
        case .lower(let lower, _, in: _): id = lower
        }
        guard let id else { throw InternalError("the target of the hard link '\(entry.path)' is gone") }
        try addMetadata(of: entry, to: id)
        if case .itself = source { return false }
        return try put(id, as: name, in: node)
    }

    private mutating func addMetadata(of entry: Entry, to id: ImageTree.FileID) throws {
        var file = self[id]
        file.metadata = try writer.result(
            of: entry.metadata, onto: file.metadata, isSymlink: file.content.target != nil,
            takesUserAttributes: file.content.isRegular, entry: entry.path)
        try tree.reserveMemory(file.metadata.attributesSize)
        let own = Int(id.index) - below.files.count
        if own >= 0 {
            files[own] = file
        } else if changed.updateValue(file, forKey: id) == nil {
            try tree.reserveMemory(ImageTree.cost)
        }
    }

    mutating func didApply(_ effect: EntryEffect, _ name: FileName?, in node: Node) {
        if case .directory = effect {
            let directory = name.flatMap { node.children[$0] } ?? node
            directory.storage.entry = entry
        }
        guard watch != nil else { return }
        let id = name.flatMap { node.storage.files[$0] }
        let touch: PathEvent.What
        switch effect {
        case .directory: touch = .directory
        case .opaque: touch = .opaque
        case .whiteout: touch = .whiteout
        case .nothing: touch = .nothing
        case .hardLink(let target):
            guard let id else { return }
            touch = .hardLink(to: target, id)
        case .file:
            guard let id else { return }
            touch = .file(self[id].content, id)
        }
        if let name { watch?.record(touch, at: name, in: node) } else { watch?.record(touch, at: node) }
    }
}

extension ImageTree.Content {
    /// Target of a symlink; nil for other files.
    var target: [UInt8]? {
        if case .symlink(let target) = self { return target }
        return nil
    }

    package var isRegular: Bool {
        if case .regular = self { return true }
        return false
    }

    /// Bytes that it takes in addition to its storage in `File`.
    fileprivate var cost: Int64 {
        if case .symlink(let target) = self { return Int64(48 + target.count) }
        return 0
    }
}

extension ImageTree {
    /// Bytes of a file, which exists twice while its layer is merged.
    fileprivate static let cost: Int64 = 200
    /// Bytes of a directory entry without the name's own.
    fileprivate static let costOfName: Int64 = 48
}
