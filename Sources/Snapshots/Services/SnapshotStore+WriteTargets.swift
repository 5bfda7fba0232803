package import Kernel
internal import Mounts

/// The places that clients may write to by a path: a client that names a mount may name any directory.
extension SnapshotStore {
    private static let doing = "cannot find out where the mount leads to"

    /// Refuses a place in the store or above it, unless it is inside a finished active snapshot of a service's client:
    /// verified layers never change, and the other files of the store belong to the store.
    ///
    /// The location of the open file in its file system decides. No symlink, bind mount or spelling of a path hides
    /// it, and nothing can be put in its place afterwards.
    ///
    /// - Throws: `.failedPrecondition`; `.system` if the location cannot be found.
    package func checkClientMayWrite(to place: borrowing File) throws(StoreFailure) {
        _ = try clientSnapshot(at: place)
    }

    /// An active snapshot of a client.
    struct ClientSnapshot {
        let snapshotter: String
        let id: Int64
        /// Whether the place is the root of its tree, and not below it.
        let isRoot: Bool
    }

    /// As `checkClientMayWrite`.
    ///
    /// - Returns: the snapshot whose tree has the place; nil for a place outside of the store, and for a mount of a
    ///   snapshot alone.
    func clientSnapshot(at place: borrowing File) throws(StoreFailure) -> ClientSnapshot? {
        let (mounts, status) = try attempting(Self.doing) { () throws(SyscallFailure) in
            (try MountTable.read(), try place.status())
        }
        let found = try location(of: place, mounts)
        guard let found else {
            try refuseDetached(place)
            return nil
        }
        // The names from ROOT to the place; a snapshotter's folder may be a mount of its own below ROOT.
        var names: [String]?
        for (prefix, directory) in [([], rootDirectory)] + folders.map({ ([$0.name], $0.directory) }) {
            guard let own = try location(of: directory.file, mounts) else { continue }
            if found.leads(to: own) {
                throw StoreFailure(
                    .failedPrecondition, "nothing is written there: the store \(escaped(root)) lies in it")
            }
            if let below = found.names(below: own) { names = prefix + below.map(\.description) }
        }
        if status.kind == .regular, status.linkCount > 1 {
            throw StoreFailure(.failedPrecondition, "nothing is written to a file that has several names")
        }
        guard let names else { return nil }
        // Only into the tree itself: the files beside the tree belong to the store.
        if names.count > 2, let id = Int64(names[1]), let tree = Self.tree(of: names[0]),
            names[2] == tree, try activeSnapshots(in: names[0]).contains(id)
        {
            return ClientSnapshot(snapshotter: names[0], id: id, isRoot: names.count == 3)
        }
        throw StoreFailure(
            .failedPrecondition,
            "nothing is written there: it belongs to the store \(escaped(root)), and is no active snapshot of a client's"
        )
    }

    private func location(
        of file: borrowing File, _ mounts: MountTable
    ) throws(StoreFailure) -> FileLocation? {
        do throws(SyscallFailure) {
            return try mounts.location(of: file)
        } catch {
            throw StoreFailure(error, Self.doing)
        }
    }

    private func activeSnapshots(in snapshotter: String) throws(StoreFailure) -> [Int64] {
        try database.read { try $0.activeSnapshotsOfServices(in: snapshotter) }
    }

    /// The snapshotters' folders that exist, also those of other snapshotters than this store's.
    private var folders: [(name: String, directory: Directory)] {
        Self.supported.compactMap { name in
            (try? rootDirectory.open(FileName(literal: name))).map { (name, $0) }
        }
    }

    /// As `checkClientMayWrite`, for the root of a file system that was mounted for this purpose alone: another mount
    /// of the store's file system leads into the store, unless it shows an active snapshot and nothing else (a
    /// subvolume).
    private func refuseDetached(_ place: borrowing File) throws(StoreFailure) {
        var isElsewhere = true
        let identity: FileStatus.Identity
        do throws(SyscallFailure) {
            for directory in [rootDirectory] + folders.map(\.directory) where isElsewhere {
                isElsewhere = try !place.isOnSameFileSystem(as: directory.file)
            }
            identity = try place.status().identity
        } catch {
            throw StoreFailure(error, Self.doing)
        }
        if isElsewhere { return }
        // Only btrfs has snapshots that are mounted this way, whichever snapshotter this store is opened for.
        let folder = try? rootDirectory.open(FileName(literal: BtrfsBackend.name))
        for id in try activeSnapshots(in: BtrfsBackend.name) {
            guard let tree = try? folder?.open(FileName(id: id)).open(BtrfsBackend.tree) else { continue }
            let own = try attempting(Self.doing) { () throws(SyscallFailure) in
                try tree.file.status().identity
            }
            if own == identity { return }
        }
        throw StoreFailure(
            .failedPrecondition,
            "nothing is written there: it is the file system of the store \(escaped(root))")
    }
}
