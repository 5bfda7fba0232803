package import Kernel
internal import Mounts

/// What one kind of file system does for snapshots: it fills, opens, measures, describes and deletes what belongs to
/// one snapshot.
///
/// The store gives each snapshot a plain directory, `ROOT/<snapshotter>/<id>`, which it makes inside a transaction and
/// renames when the snapshot goes; the rest is the backend's, and happens outside of every transaction. A backend knows
/// nothing of names, rows and other processes: whatever it is asked for concerns ids that the caller owns, on parents
/// that cannot go meanwhile.
protocol SnapshotBackend: Sendable {
    /// As `--snapshotter` names it, and its folder in ROOT.
    static var name: String { get }
    /// What in a snapshot's directory carries its tree.
    static var tree: FileName { get }
    /// What a snapshot's tree holds.
    static var content: SnapshotContent { get }

    var folder: BackendFolder { get }

    init(folder: BackendFolder)

    /// Tries out whether snapshots can be kept here, and how their layers say that they hide something.
    ///
    /// - Throws: `.unavailable` with the reason and the remedy, `.system`.
    func probe() throws(StoreFailure) -> WhiteoutForm

    /// Fills the empty directory of a new snapshot. May take as long as copying the parent does.
    ///
    /// - Parameters:
    ///   - isView: whether nobody will ever write to it; one with a parent needs nothing of its own.
    ///   - isWanted: asked now and then; where it is not any more, it fails with ECANCELED.
    func make(
        _ id: Int64, isView: Bool, on parent: Int64?, isWanted: () -> Bool
    ) throws(SyscallFailure)

    /// Opens a snapshot's tree, for as long as the result is kept.
    ///
    /// - Parameter isWritable: only for active snapshots.
    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree

    /// Makes sure that an active snapshot can be committed: that nobody has it mounted in a way that keeps its content
    /// from being complete.
    ///
    /// - Throws: `.failedPrecondition` with what is in the way.
    func finish(_ id: Int64) throws(StoreFailure)

    /// Gives back what only an active snapshot needs, after its commit. A crash before leaves it there, which harms
    /// nobody.
    func seal(_ id: Int64) throws(SyscallFailure)

    /// What is written to the disk before a snapshot that a user asked for is told of: enough that it can be mounted
    /// after a power cut.
    func persist(_ id: Int64) throws(SyscallFailure)

    /// What a snapshot takes, without its parent.
    ///
    /// - Parameter tree: what its whole tree takes, where somebody has walked through it already.
    func usage(of id: Int64, on parent: Int64?, tree: SnapshotUsage?) throws(SyscallFailure) -> SnapshotUsage

    /// The mounts of a stack of snapshots.
    func mounts(_ stack: SnapshotStack) throws(SyscallFailure) -> [Mount]

    /// Deletes directories of the folder that are no snapshots' any more, or some of what is in them.
    ///
    /// - Parameter isWanted: polled during the work; when it returns false, the rest stays and this returns.
    func delete(
        _ names: [FileName], _ deletion: Deletion, isWanted: @escaping @Sendable () -> Bool
    ) throws(SyscallFailure)
}

extension SnapshotBackend {
    func delete(
        _ names: [FileName], _ deletion: Deletion, isWanted: @escaping @Sendable () -> Bool = { true }
    ) throws(SyscallFailure) {
        try TreeRemoval(of: names, in: folder.directory).run(deletion, isWanted: isWanted)
    }
}

/// What the tree of a snapshot holds.
package enum SnapshotContent: Sendable {
    /// Its own layer: it can be written before the layers below are there.
    case layer
    /// Everything, its parent's files too: it begins as a copy of its parent.
    case wholeTree
}

/// A snapshot's tree, open. What it is mounted by goes with it.
package struct SnapshotTree: Sendable {
    package let directory: Directory
    private let mount: DetachedMount?

    init(_ directory: Directory) {
        self.directory = directory
        mount = nil
    }

    init(_ mount: DetachedMount) {
        directory = mount.root
        self.mount = mount
    }

    /// Writes to where the tree lies what only its own mount holds: nobody hears of errors when that goes.
    func flush() throws(SyscallFailure) { try mount?.sync() }
}
