internal import Archive
internal import Kernel

/// Destination of the entries of one layer: a directory on a disk, or a tree in memory.
///
/// `LayerInterpreter` decides what each entry means and calls the sink for the files of the layer; a sink implements
/// no rule for whiteouts, symlinks, hard links or replacement. It tracks directories as nodes and everything else by
/// name.
protocol EntrySink {
    /// State of the sink for each directory of the layer.
    associatedtype Storage
    /// A file of the layers below that is not a directory.
    associatedtype LowerFile
    typealias Node = DirectoryNode<Storage>

    var tree: LayerTree<Storage> { get set }
    /// Filters the metadata of entries, and collects the warnings.
    var writer: MetadataWriter { get set }

    /// Called before each entry: the sink may finalize directories to free memory.
    ///
    /// - Parameter number: of the entry, counted from 0.
    /// - Returns: whether directories were dropped from `tree`.
    mutating func prepareForEntry(_ number: Int) throws -> Bool

    // MARK: The layer's own names

    /// Creates the state of a new node, whose parent is in the tree.
    func makeStorage(of name: FileName, in parent: Node) -> Storage

    /// Whether the layer has anything under a name.
    mutating func has(_ name: FileName, in node: Node) throws -> Bool

    /// Returns what the layer has under a name in an existing directory. No child node has the name.
    mutating func lookUp(_ name: FileName, in node: Node) throws -> OwnFile

    /// Tracks a directory again that was dropped from the tree.
    ///
    /// - Returns: its metadata; nil if the layer has no directory of that name there.
    mutating func reopenDirectory(_ name: FileName, in parent: Node) throws -> Metadata?

    /// Creates a directory that no entry has listed yet, and those above it.
    mutating func makeImplicit(_ node: Node) throws

    /// Creates a directory, whose parent exists, in place of any other file of its name.
    ///
    /// - Returns: whether a file was replaced.
    mutating func makeDirectory(_ node: Node) throws -> Bool

    /// Creates a regular file, symlink, FIFO or device with its metadata, in place of any file of its name that is
    /// not a directory.
    ///
    /// - Parameter reader: provides the data of a regular file.
    /// - Returns: whether a file was replaced.
    mutating func create(
        _ name: FileName, in node: Node, _ entry: Entry, from reader: inout LayerReader
    ) throws -> Bool

    /// Gives a file another name, in place of any file of that name that is not a directory, and adds the entry's
    /// metadata to the file.
    ///
    /// - Returns: whether a file was replaced.
    mutating func link(
        _ source: LinkSource<Storage, LowerFile>, as name: FileName, in node: Node, _ entry: Entry
    ) throws -> Bool

    /// Removes a file that is not a directory.
    ///
    /// - Returns: whether there was one.
    mutating func removeFile(_ name: FileName, in node: Node) throws -> Bool

    /// Removes a directory with its content. The nodes stay in the tree.
    ///
    /// - Parameters:
    ///   - node: the node of the directory.
    ///   - nodes: this node and all nodes below it.
    ///   - existed: whether the layer had the directory.
    mutating func removeTree(_ node: Node, _ nodes: [Node], existed: Bool) throws

    // MARK: The layers below

    /// Whether `lookUpLower` sees the layers below; until then it finds nothing.
    var seesLower: Bool { get }

    /// Waits until the layers below are visible.
    ///
    /// - Throws: `StaleAssumption` if entries were applied to a directory at the path of a symlink of the layers below.
    mutating func waitForLower() throws

    /// Returns what the layers below show under a name, whether this layer hides it or not.
    mutating func lookUpLower(_ name: FileName, in node: Node) throws -> LowerName<LowerFile>

    /// - Parameter symlink: a result of `lookUpLower`.
    func target(of symlink: LowerFile) throws -> [UInt8]

    /// Called after each entry that changed the layer.
    mutating func didApply(_ effect: EntryEffect, _ name: FileName?, in node: Node)
}

/// What the layer itself has under a name.
enum OwnFile {
    case missing
    case directory
    case symlink(target: [UInt8])
    case other
}

/// What the layers below show under a name.
enum LowerName<File> {
    case missing
    case directory
    case symlink(File)
    case file(File)
}

/// The file that a hard link names.
enum LinkSource<Storage, LowerFile> {
    /// A file of this layer.
    case own(FileName, in: DirectoryNode<Storage>)
    /// A file of the layers below, with its name and directory in the merged tree.
    case lower(LowerFile, FileName, in: DirectoryNode<Storage>)
    /// The file that has the name of the hard link already.
    case itself
}

/// What an entry changed: a name in a directory, or the directory itself if there is no name.
enum EntryEffect {
    case directory, file, whiteout, opaque
    case hardLink(to: EntryPath)
    /// A character device 0:0, which is not created: it would control overlayfs.
    case nothing
}

/// Thrown when the layers below turn out to have a symlink where entries of a layer were applied to a directory.
struct StaleAssumption: Error {}

extension EntrySink {
    mutating func prepareForEntry(_ number: Int) -> Bool { false }
    mutating func reopenDirectory(_ name: FileName, in parent: Node) -> Metadata? { nil }
    mutating func didApply(_ effect: EntryEffect, _ name: FileName?, in node: Node) {}

    var warnings: [LayerWarning] { writer.warnings.values.sorted { $0.kind.rawValue < $1.kind.rawValue } }

    /// Returns the node of a directory that this layer affects; adds it if there is none.
    mutating func node(_ name: FileName, of parent: Node) throws -> Node {
        if let node = try ownNode(name, of: parent) { return node }
        return try tree.add(name, to: parent, exists: false, storage: makeStorage(of: name, in: parent))
    }

    /// Returns the node of a directory that this layer affects; nil if there is none of that name.
    mutating func ownNode(_ name: FileName, of parent: Node) throws -> Node? {
        if let node = parent.children[name] { return node }
        guard parent.exists, let metadata = try reopenDirectory(name, in: parent) else { return nil }
        let node = try tree.add(name, to: parent, exists: true, storage: makeStorage(of: name, in: parent))
        try tree.describe(node, metadata)
        return node
    }
}
