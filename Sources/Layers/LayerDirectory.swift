internal import Archive
internal import Erofs
internal import Kernel

/// A directory of one layer: on a disk, or in the EROFS image of a committed layer, which is read without a mount.
enum LayerDirectory: Sendable {
    case disk(Directory)
    case image(ImageDirectory)

    /// - Returns: nil if there is no such name.
    func status(of name: FileName) throws -> FileStatus? {
        switch self {
        case .disk(let directory): try directory.status(of: name)
        case .image(let directory): try directory.status(of: name)
        }
    }

    func open(_ name: FileName) throws -> LayerDirectory {
        switch self {
        case .disk(let directory): .disk(try directory.open(name))
        case .image(let directory): .image(try directory.open(name))
        }
    }

    func names() throws -> [FileName] {
        switch self {
        case .disk(let directory): try directory.names()
        case .image(let directory): try directory.names()
        }
    }

    /// Device and inode number.
    func identity() throws -> FileStatus.Identity {
        switch self {
        case .disk(let directory): try directory.file.status().identity
        case .image(let directory): directory.identity
        }
    }

    // MARK: Overlay

    func isWhiteout(_ name: FileName, _ status: FileStatus, _ marks: OverlayMarks) throws -> Bool {
        switch self {
        case .disk(let directory): try directory.isWhiteout(name, status, marks)
        // `ImageSink` writes no other form.
        case .image: status.isWhiteout
        }
    }

    func isOpaque(_ marks: OverlayMarks) throws -> Bool {
        switch self {
        case .disk(let directory): try directory.isOpaque(marks)
        case .image(let directory): try directory.isOpaque()
        }
    }

    // MARK: Metadata

    /// Without the marks of overlayfs.
    func metadata() throws -> Metadata {
        switch self {
        case .disk(let directory): try directory.metadata()
        case .image(let directory): try directory.metadata()
        }
    }

    /// As `metadata()`, for a file in this directory that is not a directory.
    func metadata(of name: FileName, _ status: FileStatus) throws -> Metadata {
        switch self {
        case .disk(let directory): try directory.metadata(of: name, status)
        case .image(let directory): try directory.metadata(of: name)
        }
    }

    // MARK: Content

    func readLink(_ name: FileName) throws -> [UInt8] {
        switch self {
        case .disk(let directory): try directory.readLink(name)
        case .image(let directory): try directory.target(of: name)
        }
    }

    /// Opens a regular file for reading.
    ///
    /// - Parameter status: of the file, as it was found before.
    /// - Throws: `FileMismatch` if the file was replaced meanwhile.
    func openFile(_ name: FileName, expecting status: FileStatus) throws -> LayerFile {
        switch self {
        case .disk(let directory): .disk(try directory.openFile(name, expecting: status))
        case .image(let directory): .image(try directory.openFile(name))
        }
    }

    /// Calls `body` with the data of a regular file in order, each piece with its offset. Holes are left out.
    ///
    /// - Parameter status: of the file, as it was found before.
    /// - Throws: `FileMismatch` if the file was replaced meanwhile.
    func read(
        _ name: FileName, _ status: FileStatus, _ body: ([UInt8], _ offset: Int64) throws -> Void
    ) throws {
        switch self {
        case .disk(let directory): try directory.openFile(name, expecting: status).forEachPiece(body)
        case .image(let directory): try directory.openFile(name).read(body)
        }
    }

    /// Copies a file with its metadata to a directory on a disk.
    ///
    /// - Precondition: the file is not a directory.
    func copy(
        _ source: FileName, _ status: FileStatus, to name: FileName, in target: Directory,
        finish writer: inout MetadataWriter, removeFrom digests: inout ContentDigests?,
        check: () throws -> Void
    ) throws {
        let copy: File?
        switch self {
        case .disk(let directory):
            copy = try directory.copyFile(
                source, status, as: name, in: target, mode: status.mode & 0o777, check: check)
        case .image(let directory):
            copy = try directory.copyFile(source, status, as: name, in: target, check)
        }
        let metadata = try metadata(of: source, status)
        let entry = EntryPath([name])
        if let copy {
            try digests?.remove(copy)
            try writer.finishFile(copy, metadata, entry: entry)
            try copy.close()
        } else {
            let isSymlink = status.kind == .symlink
            try writer.finishSpecial(name, in: target, metadata, isSymlink: isSymlink, entry: entry)
        }
    }
}

/// The content of a regular file of a layer, open for reading.
enum LayerFile: ~Copyable {
    case disk(File)
    case image(ImageFile)

    /// Replaces the content of `buffer` with data, holes as zeros; with nothing at the end of the file.
    ///
    /// - Parameter limit: of bytes; fewer may be read.
    func read(into buffer: inout [UInt8], limit: Int, at position: Int64) throws {
        switch self {
        case .disk(let file): try file.read(into: &buffer, limit: limit, at: position)
        case .image(let file): try file.read(into: &buffer, limit: limit, at: position)
        }
    }

    /// Reads the first bytes.
    func contents(first limit: Int) throws -> [UInt8] {
        var bytes = [UInt8]()
        var piece = [UInt8]()
        repeat {
            try read(into: &piece, limit: min(1 << 16, limit - bytes.count), at: Int64(bytes.count))
            bytes += piece
        } while !piece.isEmpty && bytes.count < limit
        return bytes
    }

    /// - Parameter check: called for each piece of up to 256 KiB.
    func hasSameContent(as other: borrowing LayerFile, check: () throws -> Void) throws -> Bool {
        var (bytes, otherBytes) = ([UInt8](), [UInt8]())
        var position: Int64 = 0
        repeat {
            try check()
            try read(into: &bytes, limit: 1 << 18, at: position)
            // The pieces of an image may be smaller than those of a disk.
            try other.read(into: &otherBytes, limit: max(bytes.count, 1), at: position)
            if otherBytes.isEmpty != bytes.isEmpty { return false }
            let count = min(bytes.count, otherBytes.count)
            if bytes.prefix(count) != otherBytes.prefix(count) { return false }
            position += Int64(count)
        } while !bytes.isEmpty
        return true
    }
}
