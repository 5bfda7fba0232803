internal import Archive
internal import Compression
package import Kernel
package import OCI
package import Streams

/// Makes the layer that leads from one tree to another: the same bytes for the same trees (OCI image spec, layer.md, "Creating
/// layers").
///
/// A directory stands before what is in it, and that in the order of the names' bytes; what leads to a change comes with it.
/// A file of several names is written under the first of them that has changed, and those before it follow as links.
/// Nothing is remembered but the directories that were written, and files of several names.
package struct LayerMaker {
    private let old: LowerView
    private let new: LowerView
    private let latest: Timestamp?
    private let cancellation: Cancellation
    private var isShort: Bool

    private var writer: TarWriter
    private let sink: LayerSink
    private let buffer = ReadBuffer(size: 1 << 18)
    /// Directories in which there are names still to come, the root first.
    private var frames = [Frame]()
    /// Directories that have an entry.
    private var written = Set<TreePath>()
    private var groups = [FileStatus.Identity: LinkGroup]()

    /// The directories that the walk stands in, in the new tree and, as far as it has them, in the old one.
    private var news: OpenPath<MergedDirectory>
    private var olds: OpenPath<MergedDirectory>

    private struct Frame {
        let path: TreePath
        let hasOld: Bool
        /// What a layer can say of the directory.
        let metadata: Metadata?
        /// The last one first.
        var names: [FileName]
    }

    private enum LinkGroup {
        /// Under this name first.
        case written(TreePath)
        /// Names that have not changed.
        case unchanged([TreePath])
    }

    /// Writes the layer.
    ///
    /// - Parameters:
    ///   - latest: no entry is newer (`SOURCE_DATE_EPOCH`), and what hides something has that time; nil leaves every time as it
    ///     is, and what hides something is as old as the epoch.
    ///   - isShort: whether to look only at the layers that a new tree has above the whole old one. The result is the same.
    ///   - output: takes the blob's bytes in order.
    /// - Throws: `.unsupported` for a type of layer that is not made here, and for trees that only the kernel can read;
    ///   `.refused` for what no layer can say.
    package static func write(
        from old: LowerView, to new: LowerView, as mediaType: MediaType, latest: Timestamp? = nil,
        isShort: Bool = true, cancellation: Cancellation,
        to output: @escaping (RawSpan) throws -> Void
    ) throws(LayerFailure) -> MadeLayer {
        do {
            guard let format = mediaType.formatToMake else {
                throw LayerFailure(.unsupported("no layer of the media type '\(mediaType)' is made here"))
            }
            let sink = try LayerSink(format, to: output)
            var maker = LayerMaker(
                old: old, new: new, latest: latest, isShort: isShort, cancellation: cancellation, sink)
            try maker.run()
            return try sink.finish(as: mediaType)
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    private init(
        old: LowerView, new: LowerView, latest: Timestamp?, isShort: Bool, cancellation: Cancellation,
        _ sink: LayerSink
    ) {
        self.old = old
        self.new = new
        self.latest = latest
        self.isShort = isShort
        self.cancellation = cancellation
        self.sink = sink
        news = OpenPath(new.root, weight: new.root.layers.count)
        olds = OpenPath(old.root, weight: old.root.layers.count)
        writer = TarWriter { try sink.write($0) }
    }

    // MARK: Walking

    private mutating func run() throws {
        if !new.isEmpty {
            let root = DirectoryPair(old: old.isEmpty ? nil : old.root, new: new.root)
            if isShort { isShort = try root.addedLayers() != nil }
            try enter(TreePath(), root)
        }
        while let last = frames.indices.last {
            try cancellation.check()
            if let name = frames[last].names.popLast() {
                let pair = DirectoryPair(
                    old: frames[last].hasOld ? try olds.deepest() : nil, new: try news.deepest())
                try compare(frames[last].path.appending(name), name, in: pair)
            } else {
                leave()
            }
        }
        try writer.finish()
    }

    private mutating func leave() {
        let frame = frames.removeLast()
        if frames.isEmpty { return }
        news.ascend()
        if frame.hasOld { olds.ascend() }
    }

    private mutating func enter(_ path: TreePath, _ pair: DirectoryPair) throws {
        guard path.count <= TreeLimits.depth else {
            throw LayerFailure(.refused("more than \(TreeLimits.depth) directories deep"))
        }
        try pair.check(at: path.components)
        let metadata = try pair.new.layerMetadata()
        if let metadata, try metadata != pair.old?.layerMetadata() { try write(path, .directory, metadata) }
        frames.append(
            Frame(
                path: path, hasOld: pair.old != nil, metadata: metadata,
                names: try pair.names(isShort: isShort).reversed()))
    }

    private mutating func compare(_ path: TreePath, _ name: FileName, in pair: DirectoryPair) throws {
        let before = try pair.old?.lookUp(name) ?? .missing
        switch try pair.new.lookUp(name) {
        case .directory(let directory):
            try checkName(path)
            var below: MergedDirectory?
            if case .directory(let old) = before { below = old }
            news.descend(to: name, directory)
            if let below { olds.descend(to: name, below) }
            try enter(path, DirectoryPair(old: below, new: directory))
        case .file(_, let status) where status.kind == .socket:
            // No tar has one: whoever listens there makes it.
            if !before.isSocket { try hide(path, before) }
        case .file(let layer, let status):
            try checkName(path)
            let metadata = try layer.layerMetadata(of: name, status)
            let isSame = try isUnchanged(path, layer, status, metadata, since: before)
            try add(NewFile(path: path, layer: layer, status: status, metadata: metadata), isSame: isSame)
        case .missing: try hide(path, before)
        }
    }

    private func checkName(_ path: TreePath) throws(LayerFailure) {
        if path.last.map(Whiteout.isReserved) == true {
            throw LayerFailure(
                refusing: EntryPath(path.components), "in a layer its name would hide another file")
        }
    }

    /// As containerd compares, but for numbers of links: content only where the times are whole seconds, as they are of files from an archive.
    private func isUnchanged(
        _ path: TreePath, _ layer: Directory, _ status: FileStatus, _ metadata: Metadata,
        since before: LowerFile
    ) throws -> Bool {
        guard case .file(let below, let old) = before, old.kind == status.kind, let name = path.last else {
            return false
        }
        if old.identity == status.identity { return true }
        // It may have got another name, or be no longer the same file as another one.
        guard old.linkCount == status.linkCount else { return false }
        guard try metadata == below.layerMetadata(of: name, old), old.size == status.size else {
            return false
        }
        switch status.kind {
        case .symlink: return try layer.readLink(name) == below.readLink(name)
        case .regular where status.size > 0 && status.modificationTime.nanoseconds == 0:
            return try open(name, status, in: layer, at: path).hasSameContent(
                as: open(name, old, in: below, at: path)
            ) { try cancellation.check() }
        default: return true
        }
    }

    // MARK: Entries

    /// A file of the new tree that is no directory.
    private struct NewFile {
        let path: TreePath
        let layer: Directory
        let status: FileStatus
        let metadata: Metadata
    }

    private mutating func add(_ file: NewFile, isSame: Bool) throws {
        guard file.status.linkCount > 1 else {
            if !isSame { try writeWhole(file) }
            return
        }
        switch (groups[file.status.identity], isSame) {
        case (.written(let first), _):
            try write(file.path, .hardLink(TarMember.name(of: first.components)), file.metadata)
        case (.unchanged(let names), true):
            groups[file.status.identity] = .unchanged(names + [file.path])
        case (nil, true): groups[file.status.identity] = .unchanged([file.path])
        case (let group, false):
            try writeWhole(file)
            groups[file.status.identity] = .written(file.path)
            guard case .unchanged(let names) = group else { return }
            // They would stay the file that they were.
            let target = TarMember.Content.hardLink(TarMember.name(of: file.path.components))
            for name in names { try write(name, target, file.metadata) }
        }
    }

    private mutating func writeWhole(_ file: NewFile) throws {
        guard let name = file.path.last else { return }
        switch file.status.kind {
        case .symlink: try write(file.path, .symlink(try file.layer.readLink(name)), file.metadata)
        case .fifo: try write(file.path, .fifo, file.metadata)
        case .character(let device): try write(file.path, .character(device), file.metadata)
        case .block(let device): try write(file.path, .block(device), file.metadata)
        case .regular:
            if try file.layer.extendedAttribute(new.root.marks.metacopy, of: name) != nil {
                throw LayerFailure(
                    .unsupported("overlay was told to copy no content up"),
                    entry: EntryPath(file.path.components).description)
            }
            let size = file.status.size
            let content = try open(name, file.status, in: file.layer, at: file.path)
            try write(file.path, .regular(size: size, ranges: nil), file.metadata)
            try writeContent(of: content, size: size, EntryPath(file.path.components))
        case .directory, .socket: break
        }
    }

    /// Opens the file that was found before: another one under its name by now, a device for example, is neither opened nor
    /// read. A process that writes to the tree may replace names at any time.
    private func open(
        _ name: FileName, _ status: FileStatus, in directory: Directory, at path: TreePath
    ) throws -> File {
        do throws(SyscallFailure) {
            return try directory.openFile(name, expecting: status)
        } catch {
            guard error.isReplacement else { throw error }
            throw LayerFailure(
                refusing: EntryPath(path.components), "the file was replaced while the tree was read")
        }
    }

    /// Dense: what holes there are depends on the file system.
    private mutating func writeContent(of file: consuming File, size: Int64, _ path: EntryPath) throws {
        let file = file
        var position: Int64 = 0
        while position < size {
            try cancellation.check()
            let count = try file.read(at: position, with: buffer) { bytes in
                let piece = bytes.extracting(first: Int(min(size - position, Int64(bytes.byteCount))))
                _ = try writer.write(piece, at: position)
                return piece.byteCount
            }
            guard count > 0 else {
                throw LayerFailure(refusing: path, "the file has got smaller while it was read")
            }
            position += Int64(count)
        }
        _ = writer.end()
    }

    private mutating func hide(_ path: TreePath, _ before: LowerFile) throws {
        if case .missing = before { return }
        guard let name = path.last, let whiteout = Whiteout.name(hiding: name) else {
            throw LayerFailure(
                refusing: EntryPath(path.components), "it is gone, and no layer can say so: of its name")
        }
        let metadata = Metadata(uid: 0, gid: 0, mode: 0, modificationTime: latest ?? .epoch)
        try write(path.parent.appending(whiteout), .regular(size: 0, ranges: nil), metadata)
    }

    private mutating func write(_ path: TreePath, _ content: TarMember.Content, _ metadata: Metadata) throws {
        try writeParents(of: path)
        var metadata = metadata
        if let latest, latest < metadata.modificationTime { metadata.modificationTime = latest }
        if case .hardLink = content { metadata.extendedAttributes = [] }
        if case .directory = content { written.insert(path) }
        try writer.add(TarMember(path: path.components, content, metadata))
    }

    /// The directories above it, but for the root, which any tree has.
    private mutating func writeParents(of path: TreePath) throws {
        var missing = [TreePath]()
        var parent = path.parent
        while parent.count > 0, !written.contains(parent) {
            missing.append(parent)
            parent = parent.parent
        }
        for path in missing.reversed() {
            if let metadata = try metadata(at: path) { try write(path, .directory, metadata) }
        }
    }

    private func metadata(at path: TreePath) throws(SyscallFailure) -> Metadata? {
        // Almost always one of those that the walk stands in.
        if frames.count > path.count, frames[path.count].path == path { return frames[path.count].metadata }
        return try new.directory(path.components)?.layerMetadata()
    }
}

extension LowerFile {
    fileprivate var isSocket: Bool {
        if case .file(_, let status) = self { return status.kind == .socket }
        return false
    }
}
