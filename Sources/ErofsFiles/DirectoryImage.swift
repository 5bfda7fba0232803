internal import Erofs
package import Kernel
internal import TreeRecords

/// Writes the tree of a directory, which may be the upper directory of an overlay, into an EROFS image.
package enum DirectoryImage {
    /// Writes a packed image of a directory, which must not change meanwhile. Whiteouts and the marks of overlayfs that a
    /// lower layer needs are written, too. Times of access are not.
    ///
    /// - Parameters:
    ///   - file: empty, open for reading and writing.
    ///   - scratch: the directory for scratch files.
    ///   - check: called for each file; an error that it throws ends the work.
    /// - Throws: `SyscallFailure`, `FileMismatch` if the tree changes, `ErofsError` for a tree that no image can hold.
    package static func write(
        _ root: Directory, to file: consuming File, scratch: Directory, check: () throws -> Void
    ) throws {
        var pass = try Pass(into: FileStore(file), scratch: scratch)
        var walk = TreeWalk(root)
        while let step = walk.next() {
            try check()
            switch step {
            case .entry(let entry): try pass.add(entry, check)
            case .vanished: throw FileMismatch.replaced(path: escaped(walk.path))
            case .unreadable(let failure): throw failure
            }
        }
        try pass.finish()
    }

    private struct Pass {
        private var writer: ErofsWriter
        /// The directory of the last entry and those above it, by depth.
        private var directories = [ErofsWriter.root]
        /// Files with several hard links that are in the image.
        private var linked = [FileStatus.Identity: (node: ErofsWriter.NodeID, kind: FileKind)]()

        init(into store: FileStore, scratch: Directory) throws {
            writer = try ErofsWriter(
                .packed, image: store, makeScratch: { SpillingStore(in: scratch) })
        }

        mutating func finish() throws { _ = try writer.finish() }

        mutating func add(_ entry: TreeWalk.Entry, _ check: () throws -> Void) throws {
            let depth = entry.depth
            if let directory = entry.directory {
                let metadata = InodeMetadata(entry.status, try directory.file.fileAttributes())
                guard let name = entry.name else { return try writer.describe(ErofsWriter.root, metadata) }
                directories.removeLast(directories.count - depth)
                let made = try writer.makeDirectory(name.bytes, in: directories[depth - 1])
                directories.append(made)
                return try writer.describe(made, metadata)
            }
            guard let name = entry.name else { throw InternalError("the root of a tree is not a directory") }
            let parent = directories[depth - 1]
            if let known = linked[entry.status.identity] {
                return _ = try writer.link(known.node, known.kind, as: name.bytes, in: parent)
            }
            let (node, kind) = try addFile(name, entry, in: parent, check)
            if entry.status.linkCount > 1 { linked[entry.status.identity] = (node, kind) }
        }

        private mutating func addFile(
            _ name: FileName, _ entry: TreeWalk.Entry, in parent: ErofsWriter.DirectoryID,
            _ check: () throws -> Void
        ) throws -> (ErofsWriter.NodeID, FileKind) {
            let status = entry.status
            let metadata = InodeMetadata(status, try entry.parent.fileAttributes(of: name))
            let kind: FileKind
            var device: ImageDevice?
            switch status.kind {
            case .regular:
                try addContent(of: try entry.parent.openFile(name, expecting: status), status.size, check)
                return (try writer.addRegular(metadata, as: name.bytes, in: parent).node, .regular)
            case .symlink:
                let target = try entry.parent.readLink(name)
                return (
                    try writer.addSymlink(to: target[...], metadata, as: name.bytes, in: parent).node,
                    .symlink
                )
            case .fifo: kind = .fifo
            case .socket: kind = .socket
            case .character(let number): (kind, device) = (.characterDevice, ImageDevice(number))
            case .block(let number): (kind, device) = (.blockDevice, ImageDevice(number))
            case .directory: throw FileMismatch.replaced(path: "\(name)")
            }
            let added = try writer.addSpecial(kind, device: device, metadata, as: name.bytes, in: parent)
            return (added.node, kind)
        }

        private mutating func addContent(
            of file: borrowing File, _ size: Int64, _ check: () throws -> Void
        ) throws {
            try writer.beginContent(size: UInt64(size))
            try file.forEachPiece { bytes, offset in
                try check()
                try writer.append(bytes[...], at: UInt64(offset))
            }
        }
    }
}

extension ImageDevice {
    package init(_ number: DeviceNumber) { self.init(major: number.major, minor: number.minor) }
}

extension InodeMetadata {
    /// Without those marks of overlayfs that only an upper directory needs.
    fileprivate init(_ status: FileStatus, _ attributes: [(name: AttributeName, value: [UInt8])]) {
        self.init(
            mode: UInt16(truncatingIfNeeded: status.mode), uid: status.uid, gid: status.gid,
            seconds: status.modificationTime.seconds, nanoseconds: status.modificationTime.nanoseconds,
            attributes: attributes.filter { !$0.name.isOverlayMark || $0.name.isMarkOfLowerLayer }.map {
                InodeAttribute(name: Array($0.name.bytes), value: $0.value)
            })
    }
}

extension AttributeName {
    /// Whether overlay reads this mark in lower layers (kernel: fs/overlayfs/overlayfs.h, `enum ovl_xattr`). The others
    /// refer to files of the file system that the upper directory is located on, or describe the upper directory.
    fileprivate var isMarkOfLowerLayer: Bool {
        ["opaque", "redirect", "metacopy"].contains {
            self == AttributeName(literal: "trusted.overlay.\($0)")
        }
    }
}
