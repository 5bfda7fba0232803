internal import Archive
package import Kernel
package import Layout
package import OCI

/// Writes the tree of an image as one tar, without a file system: the same bytes for the same image and time.
///
/// Each path has one entry, and each directory comes before its entries, because readers that index a tar refuse other
/// orders (tar-split, which docker and podman use; tar2sqfs). The order is:
///
/// 1. Directories, in the order of the bytes of their names, each before those in it.
/// 2. Regular files, in the order of the layers and of their archives, because the content is not kept. Each has the
///    first of its names.
/// 3. Everything else, in the order of the names: symlinks, FIFOs, devices, and further names as hard links.
///
/// Readers that set the times of directories at the end of the tar preserve them: bsdtar, Python, docker, podman, and
/// GNU tar with `--delay-directory-restore`.
package struct ImageTarWriter: Sendable {
    private let tree: ImageTree
    /// First name of each regular file, by the index of its ID; nil for other files.
    private let firstNames: [TreePath?]
    private let counts: ImageTree.LinkCounts
    private let latest: Timestamp?

    /// - Parameters:
    ///   - tree: the merged tree that `TreeReader` has read.
    ///   - latest: upper limit of all times (`SOURCE_DATE_EPOCH`); nil for no limit.
    ///   - check: called for each name.
    package init(
        _ tree: ImageTree, latest: Timestamp? = nil, check: () throws -> Void
    ) rethrows {
        self.tree = tree
        self.latest = latest
        counts = try tree.linkCounts(check: check)
        var names = [TreePath?](repeating: nil, count: tree.files.count)
        try tree.forEach { item in
            try check()
            if tree[item.id].content.isRegular, names[Int(item.id.index)] == nil {
                names[Int(item.id.index)] = item.treePath
            }
        }
        firstNames = names
    }

    package init(_ tree: ImageTree, latest: Timestamp? = nil) { self.init(tree, latest: latest) {} }

    /// Whether a layer has content that the merged tree shows, so that the layer has to be read again.
    package func needsContent(of step: LayerStep) -> Bool { tree.hasContents(of: namedFiles, from: step) }

    private var namedFiles: some Sequence<ImageTree.FileID> {
        firstNames.indices.lazy.filter { firstNames[$0] != nil }.map { ImageTree.FileID(index: Int32($0)) }
    }

    /// A tar that is being written.
    package struct Output {
        fileprivate var writer: TarWriter

        /// - Parameter write: called with the bytes in order; returns when they are written.
        package init(to write: @escaping (RawSpan) throws -> Void) { writer = TarWriter(to: write) }
    }

    /// Writes the files whose content comes from a layer, and verifies the layer again.
    ///
    /// - Throws: `LayerFailure`; the output is invalid then.
    package func writeContent(
        of step: LayerStep, in layout: ImageLayout, budget: Budget, cancellation: Cancellation,
        to output: inout Output, progress: @escaping @Sendable (Int64) -> Void = { _ in }
    ) throws(LayerFailure) {
        var sink = TarSink(tar: self, writer: output.writer)
        try tree.readContents(
            of: namedFiles, from: step, in: layout, budget: budget, cancellation: cancellation, into: &sink,
            progress: progress)
        output.writer = sink.writer
    }

    /// Writes the directories. Must be called first.
    ///
    /// - Throws: as `writeRemaining`.
    package func writeDirectories(
        to output: inout Output, cancellation: Cancellation
    ) throws(LayerFailure) {
        do {
            try tree.forEach { item in
                try cancellation.check()
                let directory = tree[item.id]
                guard directory.isDirectory else { return }
                try output.writer.add(TarMember(path: item.path, .directory, clamped(directory.metadata)))
            }
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    /// Writes everything else, and the end of the tar.
    ///
    /// - Throws: `LayerFailure`, which wraps errors of the output and a cancellation; `.refused` for a file that a
    ///   tar cannot represent.
    package func writeRemaining(to output: inout Output, cancellation: Cancellation) throws(LayerFailure) {
        /// First paths of files with several names and without content.
        var firstPaths = [ImageTree.FileID: TreePath]()
        do {
            try tree.forEach { item in
                try cancellation.check()
                if !tree[item.id].isDirectory { try write(item, &firstPaths, &output.writer) }
            }
            try output.writer.finish()
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    private func write(
        _ item: ImageTree.Item, _ firstPaths: inout [ImageTree.FileID: TreePath], _ writer: inout TarWriter
    ) throws {
        let file = tree[item.id]
        if let first = firstNames[Int(item.id.index)] ?? firstPaths[item.id] {
            if first == item.treePath { return }
            let metadata = clamped(file.metadata, withAttributes: false)
            try writer.add(
                TarMember(path: item.path, .hardLink(TarMember.tarName(of: first.components)), metadata))
        } else if let content = Self.content(of: file) {
            if counts[item.id] > 1 { firstPaths[item.id] = item.treePath }
            try writer.add(TarMember(path: item.path, content, clamped(file.metadata)))
        }
    }

    /// Nil for directories, regular files (both are written elsewhere), and sockets, which an image cannot have.
    private static func content(of file: ImageTree.File) -> TarMember.Content? {
        switch file.content {
        case .symlink(let target): .symlink(target)
        case .fifo: .fifo
        case .character(let device): .character(device)
        case .block(let device): .block(device)
        case .directory, .regular, .socket: nil
        }
    }

    private func clamped(_ metadata: Metadata, withAttributes: Bool = true) -> Metadata {
        var metadata = metadata
        if let latest, latest < metadata.modificationTime { metadata.modificationTime = latest }
        if !withAttributes { metadata.extendedAttributes = [] }
        return metadata
    }

    fileprivate func member(_ id: ImageTree.FileID, size: Int64) -> TarMember {
        TarMember(
            path: firstNames[Int(id.index)]?.components ?? [],
            .regular(size: size, ranges: tree.data(of: id)?.ranges),
            clamped(tree[id].metadata))
    }
}

extension TarWriter {
    /// Begins a member.
    ///
    /// - Throws: `LayerFailure` with the path if a tar cannot represent the member.
    mutating func add(_ member: TarMember) throws {
        do {
            try begin(member)
        } catch let reason as ArchiveFailure.Reason {
            throw LayerFailure(refusing: EntryPath(member.path), "\(reason)")
        }
    }
}

/// Writes files into a tar.
private struct TarSink: ContentSink {
    let tar: ImageTarWriter
    var writer: TarWriter

    mutating func begin(_ file: ImageTree.FileID, size: Int64) throws {
        try writer.add(tar.member(file, size: size))
    }

    mutating func write(_ bytes: RawSpan, at offset: Int64) throws -> Bool {
        try writer.write(bytes, at: offset)
    }

    mutating func end() -> Bool { writer.end() }
}
