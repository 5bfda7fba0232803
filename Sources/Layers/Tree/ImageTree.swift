package import Archive
package import Kernel
package import Streams

/// The merged tree of an image as a value, without a file system.
///
/// Like a file system it separates files from names, so that the names of a hard-link group share one file. A file
/// with its name takes about 200 bytes.
package struct ImageTree: Sendable {
    /// Identifies a file of the tree, independent of its names.
    package struct FileID: Hashable, Sendable {
        let index: Int32
    }

    package enum Content: Hashable, Sendable {
        /// `size` includes holes.
        case regular(size: Int64)
        case directory
        case symlink([UInt8])
        case fifo
        /// Occurs only in writable snapshots, never in images.
        case socket
        case character(DeviceNumber)
        case block(DeviceNumber)
    }

    /// The entry that created a file; for a directory the last entry that lists it.
    package struct Origin: Hashable, Sendable {
        /// `LayerStep.number`; 0 if the file does not come from a layer.
        package let layer: Int32
        /// Number of the entry, counted from 0 in its layer; nil for a directory that no entry lists.
        package let entry: Int32?
    }

    package struct File: Sendable {
        package let content: Content
        package internal(set) var metadata: Metadata
        package internal(set) var origin: Origin
        /// Index into `directories` or `data`; -1 for none.
        var detail: Int32 = -1

        package var isDirectory: Bool { content == .directory }
    }

    /// Content of a regular file.
    struct Data: Sendable {
        /// Nil if digests were not requested.
        let digest: ContentDigest?
        /// Ranges with data; nil for a file without holes.
        let ranges: [Range<Int64>]?
    }

    typealias Listing = [FileName: FileID]

    package static let root = FileID(index: 0)

    /// All files. Files that no longer have a name are not removed.
    var files: [File]
    private(set) var directories: [Listing]
    var data = [Data]()

    /// Creates an empty tree, whose root has the metadata of an implicit directory.
    package init() {
        files = [
            File(content: .directory, metadata: .implicit, origin: Origin(layer: 0, entry: nil), detail: 0)
        ]
        directories = [[:]]
    }

    package subscript(_ id: FileID) -> File { files[Int(id.index)] }

    var nextID: FileID { FileID(index: Int32(files.count)) }

    // MARK: Directories

    /// Entries of a directory; empty for other files.
    func listing(of id: FileID) -> Listing {
        let file = self[id]
        return file.isDirectory ? directories[Int(file.detail)] : [:]
    }

    package func child(_ name: FileName, of id: FileID) -> FileID? {
        let file = self[id]
        return file.isDirectory ? directories[Int(file.detail)][name] : nil
    }

    /// Entries of a directory in the order of the bytes of their names.
    package func children(of id: FileID) -> [(name: FileName, id: FileID)] {
        listing(of: id).map { ($0.key, $0.value) }.sorted {
            $0.name.bytes.lexicographicallyPrecedes($1.name.bytes)
        }
    }

    /// Looks up a path. Symlinks are not followed.
    package func lookUp(_ path: [FileName]) -> FileID? {
        var id = Self.root
        for name in path {
            guard let next = child(name, of: id) else { return nil }
            id = next
        }
        return id
    }

    // MARK: Changes

    mutating func addDirectory(_ metadata: Metadata, _ origin: Origin) -> FileID {
        let id = nextID
        files.append(
            File(content: .directory, metadata: metadata, origin: origin, detail: Int32(directories.count)))
        directories.append([:])
        return id
    }

    mutating func add(_ file: File) -> FileID {
        let id = nextID
        files.append(file)
        return id
    }

    mutating func setChild(_ name: FileName, of id: FileID, to child: FileID?) {
        directories[Int(self[id].detail)][name] = child
    }

    mutating func removeChildren(of id: FileID) { directories[Int(self[id].detail)] = [:] }

    // MARK: Data

    /// Nil for files that are not regular, and if digests were not requested.
    package func contentDigest(of id: FileID) -> ContentDigest? { data(of: id)?.digest }

    func data(of id: FileID) -> Data? {
        let file = self[id]
        guard case .regular = file.content, file.detail >= 0 else { return nil }
        return data[Int(file.detail)]
    }
}
