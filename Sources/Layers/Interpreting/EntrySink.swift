internal import Archive
internal import Kernel

/// Where the entries of one layer go: a directory on a disk, a tree in memory, or an image of a file system.
///
/// `LayerInterpreter` decides what each entry means and calls the sink for what the layer has; a sink knows no rule of
/// whiteouts, symlinks, hard links or replacement. It tracks directories as nodes and everything else by name.
protocol EntrySink {
    /// What the sink keeps with each directory of the layer.
    associatedtype Storage
    /// A file of the layers below that is no directory.
    associatedtype LowerFile
    typealias Node = DirectoryNode<Storage>

    var tree: LayerTree<Storage> { get set }
    /// Checks and counts what the metadata of entries asks for.
    var writer: MetadataWriter { get set }

    /// Called before each entry: the sink may complete directories to free memory.
    ///
    /// - Parameter number: of the entry, counted from 0.
    /// - Returns: whether directories were dropped from `tree`.
    mutating func prepareForEntry(_ number: Int) throws -> Bool

    // MARK: The layer's own names

    /// For a new node; `parent` is in the tree.
    func makeStorage(of name: FileName, in parent: Node) -> Storage

    /// What the layer has under a name in a directory that exists, and that no child of the node has.
    mutating func lookUp(_ name: FileName, in node: Node) throws -> OwnFile

    /// Tracks a directory again that was dropped from the tree.
    ///
    /// - Returns: its metadata; nil if the layer has no directory of that name there.
    mutating func reopenDirectory(_ name: FileName, in parent: Node) throws -> Metadata?

    /// Makes the layer have a directory and those above it, which no entry has listed yet.
    mutating func makeImplicit(_ node: Node) throws

    /// Makes a directory, whose parent exists, in place of any other file of its name.
    ///
    /// - Returns: whether there was one.
    mutating func makeDirectory(_ node: Node) throws -> Bool

    /// Makes a regular file, symlink, FIFO or device with its metadata, in place of any file of its name that is no
    /// directory.
    ///
    /// - Parameter reader: has the data of a regular file.
    /// - Returns: whether there was one.
    mutating func create(
        _ name: FileName, in node: Node, _ entry: Entry, from reader: inout LayerReader
    ) throws -> Bool

    /// Gives a file another name, in place of any file of that name that is no directory, and adds the entry's metadata to
    /// the file.
    ///
    /// - Returns: whether there was one.
    mutating func link(
        _ source: LinkSource<Storage, LowerFile>, as name: FileName, in node: Node, _ entry: Entry
    ) throws -> Bool

    /// Removes a file that is no directory.
    ///
    /// - Returns: whether there was one.
    mutating func removeFile(_ name: FileName, in node: Node) throws -> Bool

    /// Removes a directory with all that is in it. The nodes stay in the tree.
    ///
    /// - Parameters:
    ///   - node: of the directory.
    ///   - nodes: itself and all nodes below it.
    ///   - existed: whether the layer had it.
    mutating func removeTree(_ node: Node, _ nodes: [Node], existed: Bool) throws

    // MARK: The layers below

    /// Whether `lookUpLower` sees the layers below; until then it finds nothing.
    var seesLower: Bool { get }

    /// Waits until the layers below can be seen.
    ///
    /// - Throws: `StaleAssumption` if entries were applied at the place of a symlink that they have.
    mutating func waitForLower() throws

    /// What the layers below show under a name, whether this layer hides it or not.
    mutating func lookUpLower(_ name: FileName, in node: Node) throws -> LowerName<LowerFile>

    /// - Parameter symlink: of `lookUpLower`.
    func target(of symlink: LowerFile) throws -> [UInt8]

    /// The metadata that a directory's entry gives it.
    mutating func metadata(ofDirectory entry: Entry) throws -> Metadata

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
    /// Of this layer.
    case own(FileName, in: DirectoryNode<Storage>)
    /// Of the layers below; `name` and `in` are its place in the merged tree.
    case lower(LowerFile, FileName, in: DirectoryNode<Storage>)
    /// The name is the file's own already.
    case itself
}

/// What an entry did: to the directory itself where no name is given, else to a name in it.
enum EntryEffect {
    case directory, file, whiteout, opaque
    case hardLink(to: EntryPath)
    /// Something that is not made: it would steer overlay.
    case nothing
}

/// Thrown when the layers below turn out to have a symlink where entries of a layer were applied to a directory.
struct StaleAssumption: Error {}

extension EntrySink {
    mutating func prepareForEntry(_ number: Int) -> Bool { false }
    mutating func reopenDirectory(_ name: FileName, in parent: Node) -> Metadata? { nil }
    mutating func didApply(_ effect: EntryEffect, _ name: FileName?, in node: Node) {}

    var warnings: [LayerWarning] { writer.warnings.values.sorted { $0.kind.rawValue < $1.kind.rawValue } }

    /// The node of a directory that this layer touches, added if there is none.
    mutating func node(_ name: FileName, of parent: Node) throws -> Node {
        if let node = try ownNode(name, of: parent) { return node }
        return try tree.add(name, to: parent, exists: false, storage: makeStorage(of: name, in: parent))
    }

    /// The node of a directory that this layer touches; nil if it touches none of that name.
    mutating func ownNode(_ name: FileName, of parent: Node) throws -> Node? {
        if let node = parent.children[name] { return node }
        guard parent.exists, let metadata = try reopenDirectory(name, in: parent) else { return nil }
        let node = try tree.add(name, to: parent, exists: true, storage: makeStorage(of: name, in: parent))
        try tree.describe(node, metadata)
        return node
    }
}
