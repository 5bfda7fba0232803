internal import Archive
internal import Compression
package import Kernel
package import OCI

/// Writes the layer between two trees: the same bytes for the same trees (OCI image spec, layer.md, "Creating layers").
///
/// A directory comes before its entries, which are in the order of the bytes of their names. The directories above a
/// change are written too. A file with several names is written under the first changed name; all its other names are
/// hard links. Only the written directories and the files with several names are kept in memory.
package struct LayerWriter {
    private let old: LowerView
    private let new: LowerView
    private let latest: Timestamp?
    private let cancellation: Cancellation
    private var walksOnlyAddedLayers: Bool

    private var writer: TarWriter
    private let sink: LayerSink
    private var buffer = [UInt8]()
    /// Directories on the path of the walk, from the root down.
    private var frames = [Frame]()
    /// Directories that have an entry in the layer.
    private var writtenDirectories = Set<TreePath>()
    private var linkGroups = [FileStatus.Identity: LinkGroup]()

    /// The directories of `frames` in the new tree, and those of them that the old tree has.
    private var newStack: DirectoryStack<MergedDirectory>
    private var oldStack: DirectoryStack<MergedDirectory>

    private struct Frame {
        let path: TreePath
        let hasOld: Bool
        /// Of the directory in the new tree, as a layer can contain it.
        let metadata: Metadata?
        /// Names that are still to be compared, the last one first.
        var names: [FileName]
    }

    /// State of a file with several names.
    private enum LinkGroup {
        /// The file was written under this path; other names are hard links to it.
        case written(TreePath)
        /// All names so far are unchanged.
        case unchanged([TreePath])
    }

    /// Writes the layer.
    ///
    /// - Parameters:
    ///   - latest: upper limit of all times, and the time of whiteouts (`SOURCE_DATE_EPOCH`). If it is nil, times are
    ///     not changed and whiteouts have the epoch.
    ///   - walksOnlyAddedLayers: whether to walk only the layers that the new tree adds, if it contains all layers of
    ///     the old one. The result is the same.
    ///   - output: called with the bytes of the blob in order.
    /// - Throws: `.unsupported` for other media types, and for trees that only the kernel can read; `.refused` for a
    ///   tree that a layer cannot represent.
    package static func write(
        from old: LowerView, to new: LowerView, as mediaType: MediaType, latest: Timestamp? = nil,
        walksOnlyAddedLayers: Bool = true, cancellation: Cancellation,
        to output: @escaping (RawSpan) throws -> Void
    ) throws(LayerFailure) -> WrittenLayer {
        do {
            guard let format = mediaType.layerCompression else {
                throw LayerFailure(.unsupported("cannot write a layer of the media type '\(mediaType)'"))
            }
            let sink = try LayerSink(format, to: output)
            var maker = LayerWriter(
                old: old, new: new, latest: latest, walksOnlyAddedLayers: walksOnlyAddedLayers,
                cancellation: cancellation, sink)
            try maker.run()
            return try sink.finish(as: mediaType)
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    private init(
        old: LowerView, new: LowerView, latest: Timestamp?, walksOnlyAddedLayers: Bool,
        cancellation: Cancellation,
        _ sink: LayerSink
    ) {
        self.old = old
        self.new = new
        self.latest = latest
        self.walksOnlyAddedLayers = walksOnlyAddedLayers
        self.cancellation = cancellation
        self.sink = sink
        newStack = DirectoryStack(new.root, weight: new.root.layers.count)
        oldStack = DirectoryStack(old.root, weight: old.root.layers.count)
        writer = TarWriter { try sink.write($0) }
    }

    // MARK: Walking

    private mutating func run() throws {
        if !new.isEmpty {
            let root = DirectoryPair(old: old.isEmpty ? nil : old.root, new: new.root)
            if walksOnlyAddedLayers { walksOnlyAddedLayers = try root.addedLayers() != nil }
            try enter(TreePath(), root)
        }
        while let last = frames.indices.last {
            try cancellation.check()
            if let name = frames[last].names.popLast() {
                let pair = DirectoryPair(
                    old: frames[last].hasOld ? try oldStack.deepest() : nil, new: try newStack.deepest())
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
        newStack.pop()
        if frame.hasOld { oldStack.pop() }
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
                names: try pair.names(walksOnlyAddedLayers: walksOnlyAddedLayers).reversed()))
    }

    private mutating func compare(_ path: TreePath, _ name: FileName, in pair: DirectoryPair) throws {
        let before = try pair.old?.lookUp(name) ?? .missing
        switch try pair.new.lookUp(name) {
        case .directory(let directory):
            try checkName(path)
            var oldDirectory: MergedDirectory?
            if case .directory(let old) = before { oldDirectory = old }
            newStack.push(name, directory)
            if let oldDirectory { oldStack.push(name, oldDirectory) }
            try enter(path, DirectoryPair(old: oldDirectory, new: directory))
        case .file(_, let status) where status.kind == .socket:
            // A tar cannot contain sockets. The process that listens on one creates it anew.
            if !before.isSocket { try writeWhiteout(path, before) }
        case .file(let layer, let status):
            try checkName(path)
            let metadata = try layer.layerMetadata(of: name, status)
            let isSame = try isUnchanged(path, layer, status, metadata, since: before)
            try add(NewFile(path: path, layer: layer, status: status, metadata: metadata), isSame: isSame)
        case .missing: try writeWhiteout(path, before)
        }
    }

    private func checkName(_ path: TreePath) throws(LayerFailure) {
        if path.last.map(Whiteout.isReserved) == true {
            throw LayerFailure(
                refusing: EntryPath(path.components),
                "its name begins with '.wh.': in a layer it is a whiteout")
        }
    }

    /// Compares as containerd does, and also the numbers of links. Content is compared only if the time is in whole
    /// seconds, as that of files from an archive is.
    private func isUnchanged(
        _ path: TreePath, _ layer: LayerDirectory, _ status: FileStatus, _ metadata: Metadata,
        since before: LowerFile
    ) throws -> Bool {
        guard case .file(let oldLayer, let old) = before, old.kind == status.kind, let name = path.last else {
            return false
        }
        if old.identity == status.identity { return true }
        // With another number of links, the file has a new name or has left its hard-link group.
        guard old.linkCount == status.linkCount else { return false }
        guard try metadata == oldLayer.layerMetadata(of: name, old), old.size == status.size else {
            return false
        }
        switch status.kind {
        case .symlink: return try layer.readLink(name) == oldLayer.readLink(name)
        case .regular where status.size > 0 && status.modificationTime.nanoseconds == 0:
            return try open(name, status, in: layer, at: path).hasSameContent(
                as: open(name, old, in: oldLayer, at: path)
            ) { try cancellation.check() }
        default: return true
        }
    }

    // MARK: Entries

    /// A file of the new tree that is not a directory.
    private struct NewFile {
        let path: TreePath
        let layer: LayerDirectory
        let status: FileStatus
        let metadata: Metadata
    }

    private mutating func add(_ file: NewFile, isSame: Bool) throws {
        guard file.status.linkCount > 1 else {
            if !isSame { try writeFile(file) }
            return
        }
        switch (linkGroups[file.status.identity], isSame) {
        case (.written(let first), _):
            try write(file.path, .hardLink(TarMember.tarName(of: first.components)), file.metadata)
        case (.unchanged(let names), true):
            linkGroups[file.status.identity] = .unchanged(names + [file.path])
        case (nil, true): linkGroups[file.status.identity] = .unchanged([file.path])
        case (let group, false):
            try writeFile(file)
            linkGroups[file.status.identity] = .written(file.path)
            guard case .unchanged(let names) = group else { return }
            // Without entries these names would stay links to the old file.
            let target = TarMember.Content.hardLink(TarMember.tarName(of: file.path.components))
            for name in names { try write(name, target, file.metadata) }
        }
    }

    private mutating func writeFile(_ file: NewFile) throws {
        guard let name = file.path.last else { return }
        switch file.status.kind {
        case .symlink: try write(file.path, .symlink(try file.layer.readLink(name)), file.metadata)
        case .fifo: try write(file.path, .fifo, file.metadata)
        case .character(let device): try write(file.path, .character(device), file.metadata)
        case .block(let device): try write(file.path, .block(device), file.metadata)
        case .regular:
            if case .disk(let layer) = file.layer,
                try layer.extendedAttribute(new.root.marks.metacopy, of: name) != nil
            {
                throw LayerFailure(
                    .unsupported("overlayfs has copied up only the metadata of this file (metacopy)"),
                    entry: EntryPath(file.path.components).description)
            }
            let size = file.status.size
            let content = try open(name, file.status, in: file.layer, at: file.path)
            try write(file.path, .regular(size: size, ranges: nil), file.metadata)
            try writeContent(of: content, size: size, EntryPath(file.path.components))
        case .directory, .socket: break
        }
    }

    /// Opens the file that was found before. Another process may have replaced it meanwhile, for example by a device,
    /// which is neither opened nor read.
    private func open(
        _ name: FileName, _ status: FileStatus, in directory: LayerDirectory, at path: TreePath
    ) throws -> LayerFile {
        do {
            return try directory.openFile(name, expecting: status)
        } catch is FileMismatch {
            throw LayerFailure(
                refusing: EntryPath(path.components), "the file was replaced while the tree was read")
        }
    }

    /// Writes holes as zeros, because the file system decides where holes are.
    private mutating func writeContent(of file: consuming LayerFile, size: Int64, _ path: EntryPath) throws {
        let file = file
        var position: Int64 = 0
        while position < size {
            try cancellation.check()
            try file.read(into: &buffer, limit: Int(min(size - position, 1 << 18)), at: position)
            guard !buffer.isEmpty else {
                throw LayerFailure(refusing: path, "the file was truncated while it was read")
            }
            _ = try buffer.withRawSpan { try writer.write($0, at: position) }
            position += Int64(buffer.count)
        }
        _ = writer.end()
    }

    private mutating func writeWhiteout(_ path: TreePath, _ before: LowerFile) throws {
        if case .missing = before { return }
        guard let name = path.last, let whiteout = Whiteout.name(hiding: name) else {
            throw LayerFailure(
                refusing: EntryPath(path.components),
                "it was deleted, and its name begins with '.wh.': a layer cannot contain a whiteout of it")
        }
        let metadata = Metadata(uid: 0, gid: 0, mode: 0, modificationTime: latest ?? .epoch)
        try write(path.parent.appending(whiteout), .regular(size: 0, ranges: nil), metadata)
    }

    private mutating func write(_ path: TreePath, _ content: TarMember.Content, _ metadata: Metadata) throws {
        try writeParents(of: path)
        var metadata = metadata
        if let latest, latest < metadata.modificationTime { metadata.modificationTime = latest }
        if case .hardLink = content { metadata.extendedAttributes = [] }
        if case .directory = content { writtenDirectories.insert(path) }
        try writer.add(TarMember(path: path.components, content, metadata))
    }

    /// Writes the directories above a path that have no entry yet, except the root, which every tree has.
    private mutating func writeParents(of path: TreePath) throws {
        var missing = [TreePath]()
        var parent = path.parent
        while parent.count > 0, !writtenDirectories.contains(parent) {
            missing.append(parent)
            parent = parent.parent
        }
        for path in missing.reversed() {
            if let metadata = try metadata(at: path) { try write(path, .directory, metadata) }
        }
    }

    private func metadata(at path: TreePath) throws -> Metadata? {
        // The directory is almost always on the path of the walk.
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
