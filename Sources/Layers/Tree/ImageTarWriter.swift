internal import Archive
package import Kernel
package import Layout
package import OCI
package import Streams

/// Writes the tree of an image as one tar, without a file system: the same bytes for the same image and time.
///
/// Each path has one entry, and each directory comes before what is in it: readers that index a tar refuse others (tar-split,
/// which docker and podman use; tar2sqfs).
///
/// 1. Directories, each before those in it, in the order of their names' bytes.
/// 2. Regular files, as the layers have their content, which is kept nowhere: the lowest layer's first, in the order of its
///    archive; each under the first of its names.
/// 3. Everything else in the order of the names: symlinks, FIFOs, devices and, as hard links, further names.
///
/// Readers that set the times of directories at their end keep them: bsdtar, Python, docker, podman, and GNU tar with
/// `--delay-directory-restore`.
package struct ImageTarWriter: Sendable {
    private let tree: ImageTree
    /// Of each regular file, under the number of its id.
    private let firstNames: [TreePath?]
    private let counts: ImageTree.LinkCounts
    private let latest: Timestamp?

    /// - Parameters:
    ///   - tree: as `TreeReader` has read it.
    ///   - latest: no file is newer (`SOURCE_DATE_EPOCH`); nil leaves every time as it is.
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
                names[Int(item.id.index)] = item.place
            }
        }
        firstNames = names
    }

    package init(_ tree: ImageTree, latest: Timestamp? = nil) { self.init(tree, latest: latest) {} }

    /// Whether a layer has content that shows, so that it has to be read once more.
    package func needs(_ step: LayerStep) -> Bool { !wanted(of: step).isEmpty }

    /// The files whose content comes from a layer, by entry.
    private func wanted(of step: LayerStep) -> [Int32: ImageTree.FileID] {
        var wanted = [Int32: ImageTree.FileID]()
        for (index, name) in firstNames.enumerated() where name != nil {
            let origin = tree.files[index].origin
            if Int(origin.layer) == step.number, let entry = origin.entry {
                wanted[entry] = ImageTree.FileID(index: Int32(index))
            }
        }
        return wanted
    }

    /// A tar that is being written, piece by piece.
    package struct Output {
        fileprivate var writer: TarWriter

        /// - Parameter write: takes the bytes in order, and returns when they are written.
        package init(to write: @escaping (RawSpan) throws -> Void) { writer = TarWriter(to: write) }
    }

    /// Writes the files whose content comes from a layer, which is read and verified once more while it is written.
    ///
    /// - Throws: `LayerFailure`; what has been written then is worth nothing.
    package func writeContent(
        of step: LayerStep, in layout: ImageLayout, budget: Budget, cancellation: Cancellation,
        to output: inout Output, progress: @escaping @Sendable (Int64) -> Void = { _ in }
    ) throws(LayerFailure) {
        do {
            let account = Budget.Account(budget)
            var visitor = ContentVisitor(
                wanted: wanted(of: step), tar: self, writer: output.writer, cancellation: cancellation)
            try LayerStream(step, of: layout, account, cancellation: cancellation).read(
                into: &visitor, progress)
            account.keep()
            output.writer = visitor.writer
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    /// Writes the directories. Comes first.
    ///
    /// - Throws: as `writeRest`.
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

    /// Writes everything else, and the end.
    ///
    /// - Throws: what the output throws, `LayerFailure` for what no tar can say, `Cancelled`.
    package func writeRest(to output: inout Output, cancellation: Cancellation) throws(LayerFailure) {
        /// Where files of several names, and without content, were written first.
        var places = [ImageTree.FileID: TreePath]()
        do {
            try tree.forEach { item in
                try cancellation.check()
                if !tree[item.id].isDirectory { try write(item, &places, &output.writer) }
            }
            try output.writer.finish()
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    private func write(
        _ item: ImageTree.Item, _ places: inout [ImageTree.FileID: TreePath], _ writer: inout TarWriter
    ) throws {
        let file = tree[item.id]
        if let first = firstNames[Int(item.id.index)] ?? places[item.id] {
            if first == item.place { return }
            let metadata = clamped(file.metadata, withAttributes: false)
            try writer.add(
                TarMember(path: item.path, .hardLink(TarMember.name(of: first.components)), metadata))
        } else if let content = Self.content(of: file) {
            if counts[item.id] > 1 { places[item.id] = item.place }
            try writer.add(TarMember(path: item.path, content, clamped(file.metadata)))
        }
    }

    /// Nil for what a tar cannot hold: no image has such a file.
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

    fileprivate func isRegular(_ id: ImageTree.FileID, of size: Int64) -> Bool {
        tree[id].content == .regular(size: size)
    }
}

extension TarWriter {
    /// Begins a member, and says which it is if no tar can have it.
    mutating func add(_ member: TarMember) throws {
        do {
            try begin(member)
        } catch let reason as ArchiveFailure.Reason {
            throw LayerFailure(refusing: EntryPath(member.path), "\(reason)")
        }
    }
}

/// Writes the wanted files of a layer as its entries come.
private struct ContentVisitor: LayerVisitor {
    let wanted: [Int32: ImageTree.FileID]
    let tar: ImageTarWriter
    var writer: TarWriter
    private let cancellation: Cancellation
    private var entries: Int32 = 0
    private var written = 0

    init(
        wanted: [Int32: ImageTree.FileID], tar: ImageTarWriter, writer: TarWriter, cancellation: Cancellation
    ) {
        self.cancellation = cancellation
        self.wanted = wanted
        self.tar = tar
        self.writer = writer
    }

    mutating func take(_ entry: Entry, from reader: inout LayerReader) throws {
        defer { entries += 1 }
        guard let id = wanted[entries] else { return }
        // What is written is judged at the layer's end; what cannot be the entry that was read before ends it here.
        guard case .regular(let size) = entry.content, tar.isRegular(id, of: size) else { throw Self.changed }
        try writer.add(tar.member(id, size: size))
        var isExpected = true
        while isExpected,
            try reader.nextData({ (offset: Int64, bytes: RawSpan) throws in
                // Whoever reads the tar may be slow.
                try cancellation.check()
                isExpected = try writer.write(bytes, at: offset)
            })
        {}
        guard writer.end(), isExpected else { throw Self.changed }
        written += 1
    }

    func endEntries() throws {
        if written != wanted.count { throw Self.changed }
    }

    private static let changed = LayerFailure(.refused("the layer has changed since it was read"))
}
