internal import Archive
internal import Erofs
internal import ErofsFiles
internal import Kernel
internal import OCI
internal import Streams

/// Writes a layer into an EROFS image with the layer's tar as its data area. `LayerPipeline` writes the tar itself.
///
/// Names, inodes and metadata are passed to the image's writer as they arrive; directories, whiteouts and what depends
/// on the layers below follow at the end.
struct ImageSink: OverlaySink {
    struct Storage: LowerCaching {
        /// Nil while the image does not have the directory.
        var id: ErofsWriter.DirectoryID?
        var lower = LowerCache()
    }

    /// The writer. Its large arrays must not be copied, which a value in a copied sink could be.
    final class Output {
        fileprivate(set) var writer: ErofsWriter
        init(_ writer: ErofsWriter) { self.writer = writer }
    }

    var tree: LayerTree<Storage>
    var writer = MetadataWriter()
    let account: Budget.Account
    let cancellation: Cancellation
    var lowerLayers: LowerLayers<Storage>
    var copiedUp = [FileStatus.Identity: CopiedUpFile<ErofsWriter.Target>]()
    var plainRoot: Metadata { .implicit }

    private let output: Output
    /// Bytes of the writer's memory that are counted already.
    private var countedMemory: Int64 = 0

    /// - Parameter lower: future of the lower view.
    init(
        _ output: Output, over lower: Promise<LowerOutcome>, account: Budget.Account,
        cancellation: Cancellation
    ) {
        tree = LayerTree(root: Storage(id: ErofsWriter.root), memory: account)
        self.output = output
        self.account = account
        self.cancellation = cancellation
        lowerLayers = LowerLayers(lower, account, cancellation)
    }

    mutating func prepareForEntry(_ number: Int) throws -> Bool {
        if number.isMultiple(of: Self.countingInterval) { try countUse() }
        if !seesLower, account.exceedsSharedMemory { try waitForLower() }
        return false
    }

    /// Completes the image's names and metadata.
    ///
    /// - Throws: errors of `lowerView`, for which it waits.
    mutating func finish() throws {
        try finishDirectories()
        try countUse()
    }

    /// Completes the image. Nothing can be added afterwards.
    func complete(of layer: LayerContent) throws {
        output.writer.uuid = layer.diffID.imageID
        _ = try output.writer.finish(tarLength: UInt64(layer.size))
    }

    // MARK: The layer's own names

    func makeStorage(of name: FileName, in parent: Node) -> Storage { Storage() }

    /// - Precondition: the image has the directory.
    private func id(of node: Node) throws -> ErofsWriter.DirectoryID {
        guard let id = node.storage.id else { throw InternalError("a directory is not in the image yet") }
        return id
    }

    private func target(_ name: FileName, in node: Node) throws -> ErofsWriter.Target? {
        guard node.exists else { return nil }
        return output.writer.lookUp(name.bytes, in: try id(of: node))
    }

    func has(_ name: FileName, in node: Node) throws -> Bool { try target(name, in: node) != nil }

    func lookUp(_ name: FileName, in node: Node) throws -> OwnFile {
        switch try target(name, in: node) {
        case nil: .missing
        case .directory: .directory
        case .file(let file, .symlink): .symlink(target: try output.writer.target(of: file))
        case .file: .other
        }
    }

    mutating func makeImplicit(_ node: Node) throws {
        var missing = [Node]()
        var next: Node? = node
        while let node = next, !node.exists {
            missing.append(node)
            next = node.parent
        }
        for node in missing.reversed() {
            _ = try makeDirectory(node)
            node.exists = true
        }
    }

    mutating func makeDirectory(_ node: Node) throws -> Bool {
        guard let parent = node.parent, let name = node.name else {
            throw InternalError("the root of a layer cannot be created")
        }
        let hasReplaced = try removeFile(name, in: parent)
        node.storage.id = try output.writer.makeDirectory(name.bytes, in: try id(of: parent))
        return hasReplaced
    }

    mutating func removeFile(_ name: FileName, in node: Node) throws -> Bool {
        guard case .file = try target(name, in: node) else { return false }
        return try output.writer.removeFile(name.bytes, in: try id(of: node))
    }

    mutating func removeTree(_ node: Node, _ nodes: [Node], existed: Bool) throws {
        for node in nodes { node.storage.id = nil }
        guard existed, let parent = node.parent, let name = node.name else { return }
        try output.writer.removeDirectory(name.bytes, in: try id(of: parent))
    }

    // MARK: Files

    mutating func create(
        _ name: FileName, in node: Node, _ entry: Entry, from reader: inout LayerReader
    ) throws -> Bool {
        let isRegular: Bool
        let isSymlink = entry.content.isSymlink
        switch entry.content {
        case .regular(let size):
            isRegular = true
            try addContent(size: size, from: &reader)
        default: isRegular = false
        }
        let metadata = try writer.result(
            of: entry.metadata, isSymlink: isSymlink, takesUserAttributes: isRegular, entry: entry.path
        ).inode()
        let (name, directory) = (name.bytes, try id(of: node))
        let hasReplaced: Bool
        switch entry.content {
        case .regular:
            hasReplaced = try output.writer.addRegular(metadata, as: name, in: directory).hasReplaced
        case .symlink(let target):
            hasReplaced =
                try output.writer.addSymlink(to: target[...], metadata, as: name, in: directory).hasReplaced
        case .fifo:
            hasReplaced = try output.writer.addSpecial(.fifo, metadata, as: name, in: directory).hasReplaced
        case .character(let device):
            hasReplaced =
                try output.writer.addSpecial(
                    .characterDevice, device: ImageDevice(device), metadata, as: name, in: directory
                ).hasReplaced
        case .block(let device):
            hasReplaced =
                try output.writer.addSpecial(
                    .blockDevice, device: ImageDevice(device), metadata, as: name, in: directory
                ).hasReplaced
        case .directory, .hardLink:
            throw InternalError("entry '\(entry.path)' cannot be created as a file")
        }
        return hasReplaced
    }

    /// Uses the data in the tar, or appends that of a sparse file.
    private mutating func addContent(size: Int64, from reader: inout LayerReader) throws {
        if size > 0, let offset = reader.dataOffset,
            output.writer.useTar(at: UInt64(offset), size: UInt64(size))
        {
            return try account.write(size)
        }
        try output.writer.beginContent(size: UInt64(size))
        let output = output
        let account = account
        var piece = [UInt8]()
        while try reader.nextData({ (offset: Int64, bytes: RawSpan) throws in
            try account.write(Int64(bytes.byteCount))
            piece.removeAll(keepingCapacity: true)
            piece.append(bytes)
            try output.writer.append(piece[...], at: UInt64(offset))
        }) {}
    }

    mutating func link(
        _ source: LinkSource<Storage, LowerSource>, as name: FileName, in node: Node, _ entry: Entry
    ) throws -> Bool {
        var hasReplaced = false
        let target: ErofsWriter.Target?
        switch source {
        case .itself: target = try self.target(name, in: node)
        case .own(let ownName, in: let parent):
            target = try self.target(ownName, in: parent)
            if let target { hasReplaced = try add(target, as: name, in: node) }
        case .lower(let file, let lowerName, in: let parent):
            if let copy = copiedUp[file.status.identity] {
                target = copy.copy
                hasReplaced = try add(copy.copy, as: name, in: node)
            } else {
                (target, hasReplaced) = try copyUp(file, parent.path + [lowerName], as: name, in: node)
            }
        }
        guard case .file(let file, let kind)? = target else {
            throw InternalError("the target of the hard link '\(entry.path)' is gone")
        }
        let old = Metadata(try output.writer.metadata(of: file))
        let metadata = try writer.result(
            of: entry.metadata, onto: old, isSymlink: kind == .symlink,
            takesUserAttributes: kind == .regular, entry: entry.path)
        try output.writer.setMetadata(of: file, metadata.inode())
        return hasReplaced
    }

    /// - Returns: whether a file was replaced.
    private func add(_ target: ErofsWriter.Target, as name: FileName, in node: Node) throws -> Bool {
        guard case .file(let file, let kind) = target else { return false }
        return try output.writer.link(file, kind, as: name.bytes, in: try id(of: node))
    }

    mutating func link(_ copy: ErofsWriter.Target, as name: FileName, in node: Node) throws {
        try makeImplicit(node)
        _ = try add(copy, as: name, in: node)
    }

    /// Copies a file of the layers below into the image.
    private mutating func copyUp(
        _ file: LowerSource, _ path: [FileName], as name: FileName, in node: Node
    ) throws -> (ErofsWriter.Target, hasReplaced: Bool) {
        try account.reserveMemory(path.memorySize)
        let metadata = try file.layer.metadata(of: file.name, file.status).inode()
        let directory = try id(of: node)
        let added: (node: ErofsWriter.NodeID, hasReplaced: Bool)
        let kind: FileKind
        switch file.status.kind {
        case .regular:
            kind = .regular
            try output.writer.beginContent(size: UInt64(file.status.size))
            try file.layer.read(file.name, file.status) { [output, account, cancellation] bytes, offset in
                try cancellation.check()
                try account.write(Int64(bytes.count))
                try output.writer.append(bytes[...], at: UInt64(offset))
            }
            added = try output.writer.addRegular(metadata, as: name.bytes, in: directory)
        case .symlink:
            kind = .symlink
            let target = try file.layer.readLink(file.name)
            added = try output.writer.addSymlink(to: target[...], metadata, as: name.bytes, in: directory)
        case .fifo, .socket:
            kind = file.status.kind == .fifo ? .fifo : .socket
            added = try output.writer.addSpecial(kind, metadata, as: name.bytes, in: directory)
        case .character(let device), .block(let device):
            if case .block = file.status.kind { kind = .blockDevice } else { kind = .characterDevice }
            added = try output.writer.addSpecial(
                kind, device: ImageDevice(device), metadata, as: name.bytes, in: directory)
        case .directory: throw InternalError("a directory is copied as a file: '\(name)'")
        }
        let target = ErofsWriter.Target.file(added.node, kind)
        copiedUp[file.status.identity] = CopiedUpFile(
            copy: target, path: path, hasMoreNames: file.status.linkCount > 1)
        return (target, added.hasReplaced)
    }

    // MARK: The end of the layer

    mutating func makeWhiteout(of name: FileName, in node: Node) throws {
        try makeImplicit(node)
        let metadata = Metadata(uid: 0, gid: 0, mode: 0, modificationTime: .epoch).inode()
        try output.writer.addSpecial(
            .characterDevice, device: ImageDevice(major: 0, minor: 0), metadata, as: name.bytes,
            in: try id(of: node))
    }

    mutating func finishDirectory(
        _ node: Node, at path: [FileName], _ metadata: Metadata, _ state: OverlayDirectory
    ) throws {
        let result = try writer.result(of: metadata, entry: EntryPath(path))
        try output.writer.describe(try id(of: node), result.inode(isOpaque: state.isOpaque))
    }

    /// Entries after which the memory is counted again: they take at most 300 KB.
    private static let countingInterval = 1024

    /// Counts the memory that the writer has taken since the last call.
    private mutating func countUse() throws {
        let memory = Int64(output.writer.memoryUse)
        if memory > countedMemory {
            try account.reserveNames(memory - countedMemory)
            countedMemory = memory
        }
    }
}

extension DiffID {
    /// The UUID of the image of a layer: the first 16 bytes of the digest.
    fileprivate var imageID: [UInt8] {
        let digits = Array(digest.hex.utf8.prefix(32))
        return stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
        }
    }
}
