internal import Archive
internal import Kernel
internal import Streams

/// Applies a layer to a directory on a disk, with overlay's whiteouts.
///
/// Directories have the mode 0700 and the owner of this process until they are finalized. Until then nothing in them
/// can inherit a group, a setgid bit or a default access control list, and afterwards their times do not change.
struct DirectorySink: OverlaySink {
    struct Storage: LowerCaching {
        var handle = Cached<Directory>()
        var lower = LowerCache()
    }

    /// The form in which the layer is stored.
    struct Format {
        let whiteouts: WhiteoutForm
        let marks: OverlayMarks
        /// Metadata of the root, if no entry lists it and there is no layer below.
        let plainRoot: Metadata
    }

    var tree: LayerTree<Storage>
    var plainRoot: Metadata { format.plainRoot }
    var writer = MetadataWriter()
    /// Nil if the caller does not ask for digests.
    var digests: ContentDigests?
    let format: Format
    let account: Budget.Account
    let cancellation: Cancellation
    var directories: OpenDirectories
    var lowerLayers: LowerLayers<Storage>

    /// Weight of the tree above which directories are finalized early.
    var earlyFinalizationPoint: Int
    /// Distance from the weight after an early finalization to the next point.
    let earlyFinalizationInterval: Int
    /// Whether there may be directories on the disk that the tree does not have.
    var hasFinalizedEarly = false

    /// Whether any directory of the layer contains a whiteout.
    var holdsWhiteouts = false

    /// Files of the layers below that hard links have copied up.
    var copiedUp = [FileStatus.Identity: CopiedUpFile<FileName>]()
    /// The directory that contains them until all their names in the layer are known.
    var copiedUpDirectory: Directory?

    /// - Parameters:
    ///   - lower: future of the lower view; nil if a layer below failed.
    ///   - earlyFinalizationInterval: in directories (`LayerTree.weight`).
    init(
        _ directory: Directory, over lower: Promise<LowerOutcome>, _ format: Format, account: Budget.Account,
        cancellation: Cancellation, digests: ContentDigests?, earlyFinalizationInterval: Int
    ) {
        tree = LayerTree(root: Storage(handle: Cached(directory)), memory: account)
        self.format = format
        self.account = account
        self.cancellation = cancellation
        self.digests = digests
        self.earlyFinalizationInterval = earlyFinalizationInterval
        earlyFinalizationPoint = earlyFinalizationInterval
        directories = OpenDirectories(account)
        lowerLayers = LowerLayers(lower, account, cancellation)
    }

    mutating func prepareForEntry(_ number: Int) throws -> Bool {
        if !seesLower, account.exceedsSharedMemory { try waitForLower() }
        guard tree.weight > earlyFinalizationPoint else { return false }
        try finalizeEarly()
        return true
    }

    // MARK: The layer's own names

    func makeStorage(of name: FileName, in parent: Node) -> Storage { Storage() }

    /// Returns the node's open directory, which is created if the layer does not have it yet.
    mutating func open(_ node: Node) throws -> Directory { try directories.open(node) }

    mutating func lookUp(_ name: FileName, in node: Node) throws -> OwnFile {
        let directory = try open(node)
        guard let status = try directory.status(of: name) else { return .missing }
        switch status.kind {
        case .directory: return .directory
        case .symlink: return .symlink(target: try directory.readLink(name))
        default: return .other
        }
    }

    /// Whether the layer has anything under a name.
    mutating func has(_ name: FileName, in node: Node) throws -> Bool {
        try node.exists && open(node).status(of: name) != nil
    }

    mutating func makeImplicit(_ node: Node) throws { _ = try open(node) }

    mutating func makeDirectory(_ node: Node) throws -> Bool {
        guard let parent = node.parent, let name = node.name else {
            throw InternalError("the root of a layer cannot be created")
        }
        let directory = try open(parent)
        return try replacing(name, in: directory) { try directory.makeDirectory(name, mode: 0o700) }
    }

    mutating func removeFile(_ name: FileName, in node: Node) throws -> Bool {
        let directory = try open(node)
        guard try directory.status(of: name) != nil else { return false }
        try directory.removeFile(name)
        return true
    }

    mutating func removeTree(_ node: Node, _ nodes: [Node], existed: Bool) throws {
        for node in nodes { node.storage.handle.clear() }
        guard existed, let parent = node.parent, let name = node.name else { return }
        try open(parent).removeTree(name, check: cancellation.check)
    }

    /// Runs `make`. If a file of the name exists, removes it and runs `make` again.
    ///
    /// - Returns: whether a file was removed.
    func replacing(
        _ name: FileName, in directory: Directory, _ make: () throws -> Void
    ) throws -> Bool {
        do {
            try make()
            return false
        } catch let failure as SyscallFailure where failure.isExistingFile {
            try directory.removeFile(name)
            try make()
            return true
        }
    }

    mutating func create(
        _ name: FileName, in node: Node, _ entry: Entry, from reader: inout LayerReader
    ) throws -> Bool {
        let directory = try open(node)
        let metadata = entry.metadata
        let make: (borrowing Directory) throws -> Void
        switch entry.content {
        case .regular(let size):
            return try createFile(name, in: directory, size: size, entry, from: &reader)
        case .symlink(let target): make = { try $0.makeSymlink(name, target: target) }
        case .fifo: make = { try $0.makeNode(name, .fifo, mode: metadata.mode & 0o777) }
        case .character, .block:
            guard Privileges.current.isInitialNamespace else {
                writer.warn(.lostDevice, entry: entry.path, "the device")
                return try createFile(name, in: directory, size: 0, entry, from: &reader)
            }
            let kind: FileStatus.Kind =
                switch entry.content {
                case .character(let device): .character(device)
                case .block(let device): .block(device)
                default: .fifo
                }
            make = { try $0.makeNode(name, kind, mode: metadata.mode & 0o777) }
        case .directory, .hardLink:
            throw InternalError("entry '\(entry.path)' cannot be created as a file")
        }
        let hasReplaced = try replacing(name, in: directory) { try make(directory) }
        try writer.finishSpecial(
            name, in: directory, metadata, isSymlink: entry.content.isSymlink, entry: entry.path)
        return hasReplaced
    }

    private mutating func createFile(
        _ name: FileName, in directory: Directory, size: Int64, _ entry: Entry,
        from reader: inout LayerReader
    ) throws -> Bool {
        let mode = entry.metadata.mode & 0o777
        if let file = try directory.createFile(name, mode: mode) {
            try fill(file, size: size, entry, from: &reader)
            return false
        }
        try directory.removeFile(name)
        try fill(try directory.makeFile(name, mode: mode), size: size, entry, from: &reader)
        return true
    }

    private mutating func fill(
        _ file: consuming File, size: Int64, _ entry: Entry, from reader: inout LayerReader
    ) throws {
        var written: Int64 = 0
        var digester = digests.map { _ in ContentDigester() }
        let target = file
        let account = account
        while try reader.nextData({ (offset: Int64, bytes: RawSpan) throws in
            digester?.update(bytes, at: offset)
            let count = try target.writeSparsely(bytes, at: offset)
            written += count
            try account.write(count)
        }) {}
        if written < size { try target.truncate(to: size) }
        if let digest = digester?.finish(size: size) { try digests?.add(digest, of: target, account) }
        try writer.finishFile(target, entry.metadata, entry: entry.path)
        try target.close()
    }
}

extension Entry.Content {
    var isSymlink: Bool { if case .symlink = self { true } else { false } }
}
