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
        let mounts = try attempting(doing) { () throws(SyscallFailure) in try MountTable.read() }
        let (own, found) = try translating {
            (try mounts.location(of: rootDirectory.file), try mounts.location(of: place))
        }
        guard let own, let found else { return try refuseDetached(place) }
        if found.leads(to: own) {
            throw StoreFailure(
                .failedPrecondition, "nothing is written there: the store \(escaped(root)) lies in it")
        }
        guard let names = found.names(below: own) else { return }
        if names.count > 1, let id = Int64(names[1].description),
            try isClientsActive(id, of: names[0].description)
        {
            return
        }
        throw StoreFailure(
            .failedPrecondition,
            "nothing is written there: it belongs to the store \(escaped(root)), and is no active snapshot of a client's"
        )
    }

    /// As `refuseForeignWriting`, for the root of a file system that is mounted for this alone: another mount of the one that the
    /// store lies on leads into the store, unless it shows an active snapshot and no more (a subvolume).
    private func refuseDetached(_ place: borrowing File) throws(StoreFailure) {
        let isElsewhere = try translating { try !place.isOnSameFileSystem(as: rootDirectory.file) }
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
