internal import Archive
internal import Erofs
internal import ErofsFiles
package import Kernel

/// The EROFS image of a layer, open for reading.
package struct LayerImage: Sendable {
    let image: ErofsImage
    /// Takes the place of a device number in the status of files: unique among the images of one file system.
    fileprivate let device: UInt64

    /// - Throws: `.damagedImage`, `.system`.
    package init(_ file: consuming File) throws(LayerFailure) {
        do {
            let status = try file.status()
            // No device number has the highest bit (makedev(3)).
            device = 1 << 63 | status.identity.inode
            image = try ErofsImage(FileStore(file), length: UInt64(status.size))
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    func root() throws -> ImageDirectory { ImageDirectory(layer: self, node: try image.root()) }
}

/// A directory in an EROFS image.
struct ImageDirectory: Sendable {
    private let layer: LayerImage
    private let node: ErofsImage.Node

    fileprivate init(layer: LayerImage, node: ErofsImage.Node) {
        self.layer = layer
        self.node = node
    }

    private var image: ErofsImage { layer.image }

    var identity: FileStatus.Identity { FileStatus.Identity(device: layer.device, inode: node.id) }

    private func node(_ name: FileName) throws -> ErofsImage.Node? {
        try image.lookUp(name.bytes, in: node).map(image.node(of:))
    }

    /// - Throws: `InternalError` if the name is gone: an image does not change.
    private func existing(_ name: FileName) throws -> ErofsImage.Node {
        guard let node = try node(name) else {
            throw InternalError("the image of a layer has lost '\(name)'")
        }
        return node
    }

    func status(of name: FileName) throws -> FileStatus? {
        guard let found = try node(name) else { return nil }
        return FileStatus(
            kind: found.statusKind, mode: UInt32(found.mode), uid: found.uid, gid: found.gid,
            size: Int64(found.size),
            modificationTime: Timestamp(seconds: found.seconds, nanoseconds: found.nanoseconds),
            linkCount: UInt64(found.linkCount),
            identity: FileStatus.Identity(device: layer.device, inode: found.id))
    }

    func open(_ name: FileName) throws -> ImageDirectory {
        ImageDirectory(layer: layer, node: try existing(name))
    }

    func names() throws -> [FileName] {
        try image.entries(of: node).compactMap { FileName($0.name) }
    }

    func isOpaque() throws -> Bool {
        guard node.hasAttributes else { return false }
        let name = OverlayMarks.trusted.opaque.bytes
        return try image.attributes(of: node).contains {
            $0.name.elementsEqual(name) && $0.value == [WhiteoutForm.Opacity.opaque.rawValue]
        }
    }

    func metadata() throws -> Metadata { Metadata(try image.metadata(of: node)) }

    func metadata(of name: FileName) throws -> Metadata {
        Metadata(try image.metadata(of: try existing(name)))
    }

    func target(of name: FileName) throws -> [UInt8] { try image.target(of: try existing(name)) }

    func openFile(_ name: FileName) throws -> ImageFile { ImageFile(image: image, node: try existing(name)) }

    /// Creates a copy of a file, without its metadata, in a directory on a disk.
    ///
    /// - Returns: the copy of a regular file; nil for another type of file.
    func copyFile(
        _ source: FileName, _ status: FileStatus, as name: FileName, in target: Directory,
        _ check: () throws -> Void
    ) throws -> File? {
        let mode = status.mode & 0o777
        switch status.kind {
        case .regular:
            let copy = try target.makeFile(name, mode: mode)
            try openFile(source).read { bytes, offset in
                try check()
                try bytes.withRawSpan { try copy.write($0, at: offset) }
            }
            try copy.truncate(to: status.size)
            return copy
        case .symlink: try target.makeSymlink(name, target: try self.target(of: source))
        case .fifo, .socket, .character, .block: try target.makeNode(name, status.kind, mode: mode)
        case .directory: throw InternalError("a directory is copied as a file: '\(source)'")
        }
        return nil
    }
}

/// A regular file in an EROFS image.
struct ImageFile {
    fileprivate let image: ErofsImage
    fileprivate let node: ErofsImage.Node

    func read(into buffer: inout [UInt8], limit: Int, at position: Int64) throws {
        try image.read(node, at: UInt64(position), limit: limit, into: &buffer)
    }

    /// Calls `body` with the data in order. Holes are left out.
    func read(_ body: ([UInt8], _ offset: Int64) throws -> Void) throws {
        let file = node
        var buffer = [UInt8]()
        var position: UInt64 = 0
        while position < file.size {
            let stretch = try image.stretch(of: file, at: position)
            guard stretch.location != nil else {
                position = stretch.end
                continue
            }
            let limit = Int(min(1 << 18, stretch.end - position))
            try image.read(file, at: position, limit: limit, into: &buffer)
            try body(buffer, Int64(position))
            position += UInt64(buffer.count)
        }
    }
}

extension ErofsImage.Node {
    fileprivate var statusKind: FileStatus.Kind {
        let number = device.map { DeviceNumber(major: $0.major, minor: $0.minor) }
        return switch kind {
        case .regular: .regular
        case .directory: .directory
        case .symlink: .symlink
        case .fifo: .fifo
        case .socket: .socket
        case .characterDevice: .character(number ?? DeviceNumber(major: 0, minor: 0))
        case .blockDevice: .block(number ?? DeviceNumber(major: 0, minor: 0))
        }
    }
}

extension Metadata {
    /// Metadata of a file in an image, without the marks of overlayfs.
    init(_ inode: InodeMetadata) {
        let attributes = inode.attributes.compactMap { attribute in
            AttributeName(attribute.name).map { ExtendedAttribute(name: $0, value: attribute.value) }
        }
        self.init(
            uid: inode.uid, gid: inode.gid, mode: UInt32(inode.mode),
            modificationTime: Timestamp(seconds: inode.seconds, nanoseconds: inode.nanoseconds),
            extendedAttributes: attributes.filter { !$0.name.isOverlayMark }.sorted { $0.name < $1.name })
    }

    /// Metadata as an image stores it.
    ///
    /// - Parameter isOpaque: whether a directory hides what the layers below have at its path.
    func inode(isOpaque: Bool = false) -> InodeMetadata {
        var attributes = extendedAttributes.map {
            InodeAttribute(name: Array($0.name.bytes), value: $0.value)
        }
        if isOpaque {
            attributes.append(
                InodeAttribute(
                    name: Array(OverlayMarks.trusted.opaque.bytes),
                    value: [WhiteoutForm.Opacity.opaque.rawValue]))
        }
        return InodeMetadata(
            mode: UInt16(truncatingIfNeeded: mode), uid: uid, gid: gid, seconds: modificationTime.seconds,
            nanoseconds: modificationTime.nanoseconds, attributes: attributes)
    }
}
