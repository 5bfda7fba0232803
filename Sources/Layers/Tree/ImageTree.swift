package import Archive
package import Kernel
internal import Streams

/// The merged tree of an image as a value: what its layers show together, without a file system.
///
/// Like one it has files and names apart, so that the names of a link group share one file. A file takes some 200 bytes
/// with its name.
package struct ImageTree: Sendable {
    /// One file of the tree, whatever its names are.
    package struct FileID: Hashable, Sendable {
        let index: Int32
    }

    package enum Content: Hashable, Sendable {
        /// `size` counts holes too.
        case regular(size: Int64)
        case directory
        case symlink([UInt8])
        case fifo
        /// Only a snapshot that was written to has one.
        case socket
        case character(DeviceNumber)
        case block(DeviceNumber)
    }

    /// The entry that a file comes from: of a directory the last one that lists it.
    package struct Origin: Hashable, Sendable {
        /// As `LayerStep.number`; 0 for what comes from no layer.
        package let layer: Int32
        /// Counted from 0 in its layer; nil for a directory that no entry lists.
        package let entry: Int32?
    }

    package struct File: Sendable {
        package let content: Content
        package internal(set) var metadata: Metadata
        package internal(set) var origin: Origin
        /// Where its directory or its data is told of; -1 for nowhere.
        var detail: Int32 = -1

        package var isDirectory: Bool { content == .directory }
    }

    /// What a regular file's data is.
    struct Data: Sendable {
        /// Nil where nobody wanted to know.
        let digest: ContentDigest?
        /// Where there is any; nil for a file without holes.
        let ranges: [Range<Int64>]?
    }

    typealias Listing = [FileName: FileID]

    package static let root = FileID(index: 0)

    /// Never fewer: what no name leads to any more is left where it is.
    var files: [File]
    private(set) var directories: [Listing]
    var data = [Data]()

    /// A root, as it is where no layer says anything of it.
    package init() {
        files = [
            File(content: .directory, metadata: .implicit, origin: Origin(layer: 0, entry: nil), detail: 0)
        ]
        directories = [[:]]
    }

    package subscript(_ id: FileID) -> File { files[Int(id.index)] }

    var nextID: FileID { FileID(index: Int32(files.count)) }

    // MARK: Directories

    /// What a directory holds; empty for anything else.
    func listing(of id: FileID) -> Listing {
        let file = self[id]
        return file.isDirectory ? directories[Int(file.detail)] : [:]
    }

    package func child(_ name: FileName, of id: FileID) -> FileID? {
        let file = self[id]
        return file.isDirectory ? directories[Int(file.detail)][name] : nil
    }

    /// In the order of their names' bytes.
    package func children(of id: FileID) -> [(name: FileName, id: FileID)] {
        listing(of: id).map { ($0.key, $0.value) }.sorted {
            $0.name.bytes.lexicographicallyPrecedes($1.name.bytes)
        }
    }

    /// What a path of real directories leads to; a symlink on the way is not followed.
    package func lookUp(_ path: [FileName]) -> FileID? {
        var id = Self.root
        for name in path {
            guard let next = child(name, of: id) else { return nil }
            id = next
        }
        return id
    }

    // MARK: Changing it

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

    /// Nil for what is no regular file, and where digests were not asked for.
    func contentDigest(of id: FileID) -> ContentDigest? { data(of: id)?.digest }

    func data(of id: FileID) -> Data? {
        let file = self[id]
        guard case .regular = file.content, file.detail >= 0 else { return nil }
        return data[Int(file.detail)]
    }
}
