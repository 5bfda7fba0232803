internal import Archive
package import Kernel
internal import Layers
internal import Layout
internal import OCI
package import SystemPackage

/// Copies files out of an image, without unpacking it: needs neither a store nor root. All layers are read and verified
/// once for the tree, and those that the files come from once more for the content.
package struct ImageCopy {
    private let opened: OpenedImage
    private let tree: ImageTree
    private let cancellation: Cancellation
    private let onEvent: @Sendable (UnpackEvent) -> Void

    /// Reads the tree of the image.
    package init(
        _ opened: OpenedImage, cancellation: Cancellation, onEvent: @escaping @Sendable (UnpackEvent) -> Void
    ) throws(UnpackError) {
        self.opened = opened
        self.cancellation = cancellation
        self.onEvent = onEvent
        tree = try ImageInspector(cancellation: cancellation, onEvent: onEvent).treeLeavingStreamOpen(
            of: opened)
    }

    /// Writes the content of a regular file. A symlink is followed, inside the image.
    ///
    /// - Parameters:
    ///   - path: bytes of a path in the image.
    ///   - typedPath: the path as the user typed it, for messages.
    ///   - write: receives the bytes in order, zeros for holes. They are verified when this returns.
    /// - Throws: `.notFound`; `.usage` for what is not a regular file.
    package func writeContent(
        of path: [UInt8], typed typedPath: String, to write: @escaping (RawSpan) throws -> Void
    ) throws(UnpackError) {
        let item = try tree.item(at: path, typed: typedPath, followsLast: true)
        guard tree[item.id].content.isRegular else {
            throw UnpackError(
                .usage,
                "'\(absolutePath(item.path))' is \(tree[item.id].isDirectory ? "a directory" : "not a regular file")",
                hint: "'unpack ls' lists a directory, and 'unpack cp' copies it")
        }
        var sink = StreamSink(to: write)
        try readContents(of: [item.id], into: &sink)
    }

    /// Copies a file or a directory with all that it contains.
    ///
    /// The copy has the permissions and times of the original, and belongs to the user. It has no setuid, setgid and
    /// sticky bits, owners, devices, and extended attributes.
    ///
    /// - Parameters:
    ///   - path: bytes of a path in the image. A symlink in its last component is followed only if it ends with a slash.
    ///   - destination: an existing directory for a copy of the same name, or the name of the copy.
    /// - Returns: what could not be copied, one line each.
    /// - Throws: `.notFound`; `.usage` if the copy exists already. Nothing of a failed copy is left.
    package func copy(
        _ path: [UInt8], typed typedPath: String, to destination: FilePath
    ) throws(UnpackError) -> [String] {
        let item = try tree.item(at: path, typed: typedPath, followsLast: false)
        let (folder, name) = try target(destination, for: item)
        return try attempt(writingTo: .output) {
            if try folder.status(of: name) != nil {
                throw UnpackError(
                    .usage, "'\(escaped(destination))' has '\(name)' already",
                    hint: "remove it, or name another copy")
            }
            let draft = FileName(literal: ".unpack-\(UInt32.random(in: .min ... .max))")
            do {
                var copying = TreeCopy(tree, from: item, to: draft, in: folder, cancellation: cancellation)
                try copying.makeDirectories()
                try readContents(of: copying.files, into: &copying)
                try copying.finish()
                try folder.renameNotReplacing(draft, to: name, in: folder)
                return copying.omitted
            } catch {
                try? folder.removeTree(draft)
                throw error
            }
        }
    }

    /// The directory for the copy, and its name there.
    private func target(
        _ destination: FilePath, for item: ImageTree.Item
    ) throws(UnpackError) -> (Directory, FileName) {
        try attempt(writingTo: .output) {
            if let folder = try? Directory(opening: destination) {
                guard let name = item.path.last else {
                    throw UnpackError(
                        .usage,
                        "'\(escaped(destination))' exists, and the root of the image has no name in it",
                        hint: "name a directory that does not exist yet, or use 'unpack IMAGE --output DIR'")
                }
                return (folder, name)
            }
            guard let name = destination.lastName else {
                throw UnpackError(.usage, "'\(escaped(destination))' is not the name of a file")
            }
            let parent = destination.removingLastComponent()
            return (try Directory(opening: parent.isEmpty ? "." : parent), name)
        }
    }

    private func readContents(
        of files: [ImageTree.FileID], into sink: inout some ContentSink
    ) throws(UnpackError) {
        let steps = opened.image.steps.filter { tree.hasContents(of: files, from: $0) }
        let budget = UnpackRequest.Limits().budget(compressed: nil)
        for step in steps {
            onEvent(.started(step))
            do throws(LayerFailure) {
                try tree.readContents(
                    of: files, from: step, in: opened.layout, budget: budget, cancellation: cancellation,
                    into: &sink
                ) { [onEvent] in onEvent(.progressed(step, $0)) }
            } catch {
                throw UnpackError(error, in: step)
            }
            onEvent(.read(step))
        }
        try attempt { try opened.layout.finish() }
    }
}

/// Writes the content of a file to a stream.
private struct StreamSink: ContentSink {
    private let output: (RawSpan) throws -> Void
    private var position: Int64 = 0
    private var size: Int64 = 0

    private static let zeros = [UInt8](repeating: 0, count: 1 << 16)

    init(to output: @escaping (RawSpan) throws -> Void) { self.output = output }

    mutating func begin(_ file: ImageTree.FileID, size: Int64) { self.size = size }

    mutating func write(_ bytes: RawSpan, at offset: Int64) throws -> Bool {
        guard offset >= position, offset + Int64(bytes.byteCount) <= size else { return false }
        try fill(to: offset)
        try output(bytes)
        position += Int64(bytes.byteCount)
        return true
    }

    mutating func end() throws -> Bool {
        try fill(to: size)
        return true
    }

    private mutating func fill(to end: Int64) throws {
        while position < end {
            let count = min(end - position, Int64(Self.zeros.count))
            try Array(Self.zeros[..<Int(count)]).withRawSpan { try output($0) }
            position += count
        }
    }
}

/// Copies a part of a tree into a directory.
private struct TreeCopy: ContentSink {
    private let tree: ImageTree
    private let items: [ImageTree.Item]
    private let depth: Int
    private let draft: FileName
    private let folder: Directory
    private let cancellation: Cancellation
    /// What was not copied, one line each.
    private(set) var omitted = [String]()
    /// The first item of each file that is not a directory.
    private var first = [ImageTree.FileID: ImageTree.Item]()
    private var open: Open?

    /// A file that is being written.
    private final class Open {
        let file: File
        let size: Int64

        init(_ file: consuming File, size: Int64) {
            self.file = file
            self.size = size
        }
    }

    init(
        _ tree: ImageTree, from item: ImageTree.Item, to draft: FileName, in folder: Directory,
        cancellation: Cancellation
    ) {
        self.tree = tree
        self.draft = draft
        self.folder = folder
        self.cancellation = cancellation
        depth = item.path.count
        var items = [ImageTree.Item]()
        tree.forEach(from: item) { items.append($0) }
        self.items = items
        for item in items where !tree[item.id].isDirectory && first[item.id] == nil { first[item.id] = item }
    }

    /// The regular files, each once.
    var files: [ImageTree.FileID] { first.keys.filter { tree[$0].content.isRegular } }

    private func place(of item: ImageTree.Item) throws -> (Directory, FileName) {
        let names = [draft] + item.path.dropFirst(depth)
        var directory = folder
        for name in names.dropLast() { directory = try directory.open(name) }
        return (directory, names[names.count - 1])
    }

    func makeDirectories() throws {
        for item in items where tree[item.id].isDirectory {
            try cancellation.check()
            let (directory, name) = try place(of: item)
            try directory.makeDirectory(name, mode: 0o700)
        }
    }

    mutating func begin(_ file: ImageTree.FileID, size: Int64) throws {
        guard let item = first[file] else { throw InternalError("a file that is not copied") }
        let (directory, name) = try place(of: item)
        open = Open(try directory.makeFile(name, mode: 0o600), size: size)
    }

    func write(_ bytes: RawSpan, at offset: Int64) throws -> Bool {
        guard let open, offset + Int64(bytes.byteCount) <= open.size else { return false }
        try open.file.write(bytes, at: offset)
        return true
    }

    mutating func end() throws -> Bool {
        try open?.file.truncate(to: open?.size ?? 0)
        open = nil
        return true
    }

    /// Makes what has no content, and sets permissions and times.
    mutating func finish() throws {
        for item in items where !tree[item.id].isDirectory {
            try cancellation.check()
            let (directory, name) = try place(of: item)
            if let original = first[item.id], original.treePath != item.treePath {
                let (source, sourceName) = try place(of: original)
                if try source.status(of: sourceName) != nil {
                    try directory.link(sourceName, of: source, as: name)
                }
                continue
            }
            switch tree[item.id].content {
            case .regular: break
            case .symlink(let target): try directory.makeSymlink(name, target: target)
            case .fifo: try directory.makeNode(name, .fifo, mode: 0o600)
            case .character, .block, .socket:
                omitted.append("\(absolutePath(item.path)): a device is not copied")
                continue
            case .directory: throw InternalError("a directory among files")
            }
            try setMetadata(of: name, in: directory, tree[item.id])
        }
        // Bottom up: an entry changes the time of its directory, and permissions may forbid to add one.
        for item in items.reversed() where tree[item.id].isDirectory {
            let (directory, name) = try place(of: item)
            try setMetadata(of: name, in: directory, tree[item.id])
        }
    }

    private func setMetadata(of name: FileName, in directory: Directory, _ file: ImageTree.File) throws {
        if case .symlink = file.content {
        } else {
            try directory.setMode(of: name, file.metadata.mode & 0o777)
        }
        try directory.setTimes(
            of: name, access: file.metadata.accessTime, modification: file.metadata.modificationTime)
    }
}
