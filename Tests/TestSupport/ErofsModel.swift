package import Erofs
import OCI
import Streams

/// A tree that is written by `ErofsWriter` and kept as a value, to compare it with what a reader shows.
package struct ErofsModel {
    package struct File {
        package var kind: FileKind
        package var metadata: InodeMetadata
        package var size: UInt64 = 0
        /// Data of a regular file, in the order of offsets.
        package var pieces: [(offset: UInt64, bytes: [UInt8])] = []
        package var target: [UInt8] = []
        package var device: ImageDevice?
    }

    package enum Child {
        case directory(Int)
        case file(Int)
    }

    package struct Directory {
        package var metadata: InodeMetadata
        package var children = [[UInt8]: Child]()
    }

    package private(set) var directories: [Directory]
    package private(set) var files = [File]()
    package private(set) var writer: ErofsWriter
    private var directoryIDs = [ErofsWriter.root]
    private var nodeIDs = [ErofsWriter.NodeID]()
    /// The tar's bytes of a tar-backed image.
    private var tar = [UInt8]()

    package static let uuid: [UInt8] = Array(1...16)

    package static func plain(_ mode: UInt16 = 0o644, seconds: Int64 = 1_700_000_000) -> InodeMetadata {
        InodeMetadata(mode: mode, uid: 0, gid: 0, seconds: seconds, nanoseconds: 0)
    }

    package init(
        _ form: ErofsWriter.Form, root: InodeMetadata = plain(0o755), image: any ByteStore = MemoryStore()
    ) throws {
        writer = try ErofsWriter(form, uuid: Self.uuid, image: image)
        directories = [Directory(metadata: root)]
        try writer.describe(ErofsWriter.root, root)
    }

    // MARK: Changes

    @discardableResult
    package mutating func makeDirectory(
        _ name: Bytes, _ metadata: InodeMetadata = plain(0o755), in parent: Int = 0
    ) throws -> Int {
        let id = try writer.makeDirectory(name.array[...], in: directoryIDs[parent])
        try writer.describe(id, metadata)
        directories.append(Directory(metadata: metadata))
        directoryIDs.append(id)
        directories[parent].children[name.array] = .directory(directories.count - 1)
        return directories.count - 1
    }

    package mutating func describe(_ directory: Int, _ metadata: InodeMetadata) throws {
        try writer.describe(directoryIDs[directory], metadata)
        directories[directory].metadata = metadata
    }

    /// - Parameter inTar: puts the pieces at multiples of 512 in the tar of a tar-backed image.
    @discardableResult
    package mutating func addRegular(
        _ name: Bytes, size: UInt64, pieces: [(offset: UInt64, bytes: [UInt8])], inTar: Bool = false,
        _ metadata: InodeMetadata = plain(), in parent: Int = 0
    ) throws -> Int {
        var usesTar = false
        if inTar {
            var segments = [TarSegment]()
            for piece in pieces {
                segments.append(
                    TarSegment(
                        offset: piece.offset, tarOffset: UInt64(tar.count), length: UInt64(piece.bytes.count))
                )
                tar += piece.bytes
                tar += [UInt8](repeating: 0xEE, count: (512 - tar.count % 512) % 512)
            }
            if pieces.count == 1, pieces[0].offset == 0, pieces[0].bytes.count == size {
                usesTar = writer.useTar(at: segments[0].tarOffset, size: size)
            } else {
                usesTar = writer.useTar(segments, size: size)
            }
        }
        if !usesTar {
            try writer.beginContent(size: size)
            for piece in pieces { try writer.append(piece.bytes[...], at: piece.offset) }
        }
        let (node, _) = try writer.addRegular(metadata, as: name.array[...], in: directoryIDs[parent])
        return record(
            File(kind: .regular, metadata: metadata, size: size, pieces: pieces), node, name, parent)
    }

    @discardableResult
    package mutating func addRegular(
        _ name: Bytes, _ content: [UInt8], inTar: Bool = false, _ metadata: InodeMetadata = plain(),
        in parent: Int = 0
    ) throws -> Int {
        try addRegular(
            name, size: UInt64(content.count), pieces: [(0, content)], inTar: inTar, metadata, in: parent)
    }

    @discardableResult
    package mutating func addSymlink(
        _ name: Bytes, to target: Bytes, _ metadata: InodeMetadata = plain(0o777), in parent: Int = 0
    ) throws -> Int {
        let (node, _) = try writer.addSymlink(
            to: target.array[...], metadata, as: name.array[...], in: directoryIDs[parent])
        return record(
            File(kind: .symlink, metadata: metadata, size: UInt64(target.array.count), target: target.array),
            node,
            name, parent)
    }

    @discardableResult
    package mutating func addSpecial(
        _ name: Bytes, _ kind: FileKind, _ device: ImageDevice? = nil,
        _ metadata: InodeMetadata = plain(0o600),
        in parent: Int = 0
    ) throws -> Int {
        let (node, _) = try writer.addSpecial(
            kind, device: device, metadata, as: name.array[...],
            in: directoryIDs[parent])
        return record(File(kind: kind, metadata: metadata, device: device), node, name, parent)
    }

    package mutating func link(_ file: Int, as name: Bytes, in parent: Int = 0) throws {
        try writer.link(nodeIDs[file], files[file].kind, as: name.array[...], in: directoryIDs[parent])
        directories[parent].children[name.array] = .file(file)
    }

    package mutating func setMetadata(of file: Int, _ metadata: InodeMetadata) throws {
        try writer.setMetadata(of: nodeIDs[file], metadata)
        files[file].metadata = metadata
    }

    package mutating func remove(_ name: Bytes, in parent: Int = 0) throws {
        if case .directory = directories[parent].children[name.array] {
            try writer.removeDirectory(name.array[...], in: directoryIDs[parent])
        } else {
            _ = try writer.removeFile(name.array[...], in: directoryIDs[parent])
        }
        directories[parent].children[name.array] = nil
    }

    private mutating func record(_ file: File, _ node: ErofsWriter.NodeID, _ name: Bytes, _ parent: Int)
        -> Int
    {
        files.append(file)
        nodeIDs.append(node)
        directories[parent].children[name.array] = .file(files.count - 1)
        return files.count - 1
    }

    /// What the writer itself returns of a file before the end.
    package mutating func metadataInWriter(of file: Int) throws -> InodeMetadata {
        try writer.metadata(of: nodeIDs[file])
    }

    package mutating func metadataInWriter(ofDirectory directory: Int) throws -> InodeMetadata? {
        try writer.metadata(of: directoryIDs[directory])
    }

    package mutating func targetInWriter(of file: Int) throws -> [UInt8] {
        try writer.target(of: nodeIDs[file])
    }

    /// Whether the directory can be reached from the root.
    package func isReachable(_ directory: Int) -> Bool {
        var pending = [0]
        while let next = pending.popLast() {
            if next == directory { return true }
            for case .directory(let child) in directories[next].children.values { pending.append(child) }
        }
        return false
    }

    // MARK: Results

    /// Completes the image.
    package mutating func finish() throws -> (image: any ByteStore, summary: ErofsSummary) {
        let isTarBacked = writer.form == .tarBacked
        let summary = try writer.finish(tarLength: isTarBacked ? UInt64(tar.count) : 0)
        var image = writer.storage
        if isTarBacked, !tar.isEmpty { try image.write(tar, at: ErofsWriter.tarOffset) }
        return (image, summary)
    }

    /// One line for each path, as `ErofsLines` gives them.
    package var lines: [String] {
        var links = [Int: UInt32]()
        var pending: [(directory: Int, path: [UInt8])] = [(0, [])]
        var reached = [(path: [UInt8], child: Child)]()
        while let (directory, path) = pending.popLast() {
            reached.append((path, .directory(directory)))
            for (name, child) in directories[directory].children {
                let childPath = path + [UInt8(ascii: "/")] + name
                switch child {
                case .directory(let index): pending.append((index, childPath))
                case .file(let index):
                    links[index, default: 0] += 1
                    reached.append((childPath, child))
                }
            }
        }
        return reached.map { path, child in
            switch child {
            case .directory(let index):
                let directory = directories[index]
                let children = directory.children.values.count {
                    if case .directory = $0 { return true }
                    return false
                }
                return ErofsLines.line(
                    path, .directory, directory.metadata, links: UInt32(2 + children), detail: "")
            case .file(let index):
                let file = files[index]
                let detail =
                    switch file.kind {
                    case .regular: ErofsLines.content(size: file.size, Self.digest(file))
                    case .symlink: ErofsLines.target(file.target)
                    default: ErofsLines.device(file.device)
                    }
                return ErofsLines.line(
                    path, file.kind, file.metadata, links: links[index] ?? 0, detail: detail)
            }
        }.sorted()
    }

    private static func digest(_ file: File) -> String {
        var digester = Digester(.sha256)
        var end: UInt64 = 0
        for piece in file.pieces {
            ErofsLines.update(&digester, zeros: piece.offset - end)
            digester.update(piece.bytes)
            end = piece.offset + UInt64(piece.bytes.count)
        }
        ErofsLines.update(&digester, zeros: file.size - end)
        return digester.finish().description
    }
}
