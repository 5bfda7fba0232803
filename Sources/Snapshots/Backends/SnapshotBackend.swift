package import Kernel
internal import Mounts
internal import OCI

/// The operations on the files of snapshots that differ between kinds of file system.
///
/// The store makes a plain directory for each snapshot, `ROOT/<snapshotter>/<id>`, inside a transaction, and moves it
/// to the trash when the snapshot is removed. The backend manages the content of that directory, outside of every
/// transaction. It does not know names, rows and other processes: the caller owns every ID that it passes, and the
/// parents of these cannot be removed meanwhile.
protocol SnapshotBackend: Sendable {
    /// The value of `--snapshotter`, and the name of the folder in ROOT.
    static var name: String { get }
    /// The name of the tree in the directory of an active snapshot or a view.
    static var tree: FileName { get }
    /// The name of the tree in the directory of a committed snapshot.
    static var committedTree: FileName { get }
    static var content: SnapshotContent { get }

    var folder: BackendFolder { get }

    init(folder: BackendFolder)

    /// Refuses settings that differ from those of an existing store.
    ///
    /// - Throws: `.failedPrecondition`, `.system`.
    func checkSettings() throws(StoreFailure)

    /// Finds out by trial whether the file system can hold snapshots, and in which form whiteouts.
    ///
    /// - Throws: `.unavailable` with the reason and a hint, `.system`.
    func probe() throws(StoreFailure) -> WhiteoutForm

    /// Fills the empty directory of a new snapshot. May take as long as a copy of the parent.
    ///
    /// - Parameters:
    ///   - purpose: a view with a parent has no tree of its own.
    ///   - check: called during the work; an error that it throws ends the work.
    /// - Throws: `SyscallFailure`, `FileMismatch`, errors of `check`.
    func make(_ id: Int64, for purpose: SnapshotPurpose, on parent: Int64?, check: () throws -> Void) throws

    /// Opens a snapshot's tree for the lifetime of the result.
    ///
    /// - Parameter isWritable: true for an active snapshot that a layer is written to, false for a committed one. If
    ///   `content` is `.image`, the directory of a writable one is that of the snapshot, to which the image is written.
    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree

    /// Completes the content of an active snapshot before its commit, or checks that no mount keeps it from being
    /// complete. The snapshot stays active if the commit fails.
    ///
    /// - Parameters:
    ///   - purpose: as in `make`, `.layer` or `.changes`.
    ///   - check: called during the work; an error that it throws ends the work.
    /// - Throws: `StoreFailure` (`.failedPrecondition` with the reason), errors of `check`.
    func finish(_ id: Int64, for purpose: SnapshotPurpose, check: () throws -> Void) throws

    /// Removes, after the commit, what only an active snapshot needs. If a crash comes before, it stays and does no
    /// harm.
    func seal(_ id: Int64) throws(SyscallFailure)

    /// Has the kernel protect a committed or complete snapshot with fs-verity.
    ///
    /// - Returns: the digest; nil if the snapshot is not an image, or the file system has no fs-verity.
    /// - Throws: `SyscallFailure`, `FileMismatch`.
    func enableVerity(_ id: Int64) throws -> Digest?

    /// Writes to the disk what a new snapshot needs to be mounted after a power cut, before the snapshot is published.
    func persist(_ id: Int64) throws(SyscallFailure)

    /// The space of a snapshot without its parent.
    ///
    /// - Parameters:
    ///   - isCommitted: also true for a snapshot that is complete and about to be committed.
    ///   - tree: the space of its whole tree if the caller has measured it already.
    func usage(
        of id: Int64, isCommitted: Bool, on parent: Int64?, tree: SnapshotUsage?
    ) throws(SyscallFailure) -> SnapshotUsage

    /// The mounts of a stack of snapshots.
    ///
    /// - Throws: `.unavailable`, `.system`.
    func mounts(_ stack: SnapshotStack) throws(StoreFailure) -> [Mount]

    /// Converts mounts for a client that calls mount(2) once for each of them, as containerd does.
    ///
    /// - Throws: `.system`.
    func mountsForClient(_ mounts: [Mount]) throws(StoreFailure) -> [Mount]

    /// Bytes that are free for the files of one image.
    func freeBytes() throws(SyscallFailure) -> Int64

    /// Deletes directories in the trash, or a part of their content. Only `Trash` calls this.
    ///
    /// - Parameter shouldContinue: polled during the work; when it returns false, the rest stays and this returns.
    func delete(
        _ names: [FileName], _ deletion: Deletion, shouldContinue: @escaping @Sendable () -> Bool
    ) throws(SyscallFailure)
}

extension SnapshotBackend {
    static var committedTree: FileName { tree }

    func checkSettings() {}

    func enableVerity(_ id: Int64) -> Digest? { nil }

    func mountsForClient(_ mounts: [Mount]) throws(StoreFailure) -> [Mount] { mounts }

    /// Those that the store's file system has free for root.
    func freeBytes() throws(SyscallFailure) -> Int64 { try folder.directory.file.freeBytes() }

    func delete(
        _ names: [FileName], _ deletion: Deletion, shouldContinue: @escaping @Sendable () -> Bool
    ) throws(SyscallFailure) {
        try TreeRemoval(of: names, in: folder.directory).run(deletion, shouldContinue: shouldContinue)
    }

    func delete(_ names: [FileName], _ deletion: Deletion) throws(SyscallFailure) {
        try delete(names, deletion, shouldContinue: { true })
    }
}

/// What a new snapshot is made for.
enum SnapshotPurpose: Sendable {
    /// The unpacker writes a layer into it.
    case layer
    /// A user or a client changes it through its mounts.
    case changes
    case view
}

/// The content of a snapshot's tree.
package enum SnapshotContent: Sendable {
    /// Its own layer, which can be written before the layers below are complete.
    case layer
    /// The same as an EROFS image in a file.
    case image
    /// The merged tree, which begins as a copy of the parent's (full-copy backend).
    case mergedTree

    /// Whether a snapshot has only its own layer, and its mounts merge it with those below.
    package var isLayer: Bool { self != .mergedTree }
}

/// An open tree of a snapshot. Its mount, if it has one, ends with it.
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

    /// Writes the data that only the tree's own mount has to the store's file system: the end of a mount reports no
    /// errors.
    func flush() throws(SyscallFailure) { try mount?.sync() }
}
