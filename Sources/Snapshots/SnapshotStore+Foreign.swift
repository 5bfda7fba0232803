internal import GRDB
package import Kernel
internal import Mounts

/// What clients may not write to by a path: a client that names a mount may name any directory.
extension SnapshotStore {
    /// Refuses a place in the store, or above it, unless it is inside a finished active snapshot of a service's client: verified
    /// layers never change, and the rest of the store is its own.
    ///
    /// Found out by where the open file lies in its file system, so that no symlink, bind mount or spelling of a path hides it,
    /// and nothing can be put in its place afterwards.
    ///
    /// - Throws: `.failedPrecondition`; `.system` if it cannot be found out.
    package func refuseForeignWriting(to place: borrowing File) throws(StoreFailure) {
        let doing = "cannot find out where the mount leads to"
        let (mounts, status) = try attempting(doing) { () throws(SyscallFailure) in
            (try MountTable.read(), try place.status())
        }
        guard let found = try translating({ try mounts.location(of: place) }) else {
            return try refuseDetached(place)
        }
        // The names that lead to the place from ROOT, from which a snapshotter's folder may be mounted apart.
        var names: [String]?
        for (prefix, directory) in [([], rootDirectory)] + folders.map({ ([$0.name], $0.directory) }) {
            guard let own = try translating({ try mounts.location(of: directory.file) }) else { continue }
            if found.leads(to: own) {
                throw StoreFailure(
                    .failedPrecondition, "nothing is written there: the store \(escaped(root)) lies in it")
            }
            if let below = found.names(below: own) { names = prefix + below.map(\.description) }
        }
        if status.kind == .regular, status.linkCount > 1 {
            throw StoreFailure(.failedPrecondition, "nothing is written to a file that has several names")
        }
        guard let names else { return }
        // Only into the tree itself: what stands beside it, or in its place, is the store's.
        if names.count > 2, let id = Int64(names[1]), let tree = Self.tree(of: names[0]),
            names[2] == tree, try isClientsActive(id, of: names[0])
        {
            return
        }
        throw StoreFailure(
            .failedPrecondition,
            "nothing is written there: it belongs to the store \(escaped(root)), and is no active snapshot of a client's"
        )
    }

    /// The snapshotters' folders that there are, whichever this store is opened for.
    private var folders: [(name: String, directory: Directory)] {
        Self.supported.compactMap { name in
            (try? rootDirectory.open(FileName(literal: name))).map { (name, $0) }
        }
    }

    /// As `refuseForeignWriting`, for the root of a file system that is mounted for this alone: another mount of the one that the
    /// store lies on leads into the store, unless it shows an active snapshot and no more (a subvolume).
    private func refuseDetached(_ place: borrowing File) throws(StoreFailure) {
        let isElsewhere = try translating {
            try ([rootDirectory] + folders.map(\.directory)).allSatisfy { directory in
                try !place.isOnSameFileSystem(as: directory.file)
            }
        }
        if isElsewhere { return }
        let identity = try translating { try place.status().identity }
        let ids = try read { database in
            try Int64.fetchAll(
                database, sql: "SELECT id FROM snapshot WHERE snapshotter = ? AND \(Self.isClientsActive)",
                arguments: [BtrfsBackend.name, Owner.images.rawValue, Owner.user.rawValue])
        }
        // Whichever snapshotter this store is opened for: only btrfs has snapshots that are mounted so.
        let folder = try? rootDirectory.open(FileName(literal: BtrfsBackend.name))
        for id in ids {
            let tree = try? folder?.open(FileName(id: id)).open(BtrfsBackend.tree)
            if try translating({ try tree?.file.status().identity }) == identity { return }
        }
        throw StoreFailure(
            .failedPrecondition,
            "nothing is written there: it is the file system of the store \(escaped(root))")
    }

    /// SQL, with the owners that are no service.
    private static let isClientsActive = "kind = 'active' AND run IS NULL AND owner NOT IN (?, ?)"

    private func isClientsActive(_ id: Int64, of snapshotter: String) throws(StoreFailure) -> Bool {
        try read { database in
            try Bool.fetchOne(
                database,
                sql: "SELECT 1 FROM snapshot WHERE id = ? AND snapshotter = ? AND \(Self.isClientsActive)",
                arguments: [id, snapshotter, Owner.images.rawValue, Owner.user.rawValue]) != nil
        }
    }
}
