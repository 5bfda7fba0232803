internal import Kernel
internal import Mounts
internal import SystemPackage

/// A snapshot that is removed, or would be.
package struct Removal: Sendable, Equatable {
    package let snapshot: SnapshotInfo
    package let usage: SnapshotUsage?
    package let reason: Reason
    /// The ID of the snapshot's parent.
    let parent: Int64?

    package enum Reason: String, Sendable {
        case noImage = "no image needs it"
        case bundleGone = "the directory of its bundle was removed"
        case distrusted =
            "it was not on the disk when the machine stopped, or inherited from its surroundings"
    }
}

/// A directory in a snapshotter's folder that belongs to no snapshot.
package struct Leftover: Sendable, Equatable {
    /// The name in the snapshotter's folder.
    package let name: String
    /// Bytes.
    package let size: Int64
    package let reason: Reason

    package enum Reason: String, Sendable {
        case unfinished = "the process that was making it has ended"
        case removed = "it was being deleted"
        case deleting = "it is being deleted"
        case orphan = "no snapshot has this directory"
    }
}

/// Removal of layers that nothing needs. Only layers of images are removed: the snapshots of users and services are
/// theirs.
extension SnapshotStore {
    /// What `prune` would remove, and what the start of any run would.
    package func prunable() throws(StoreFailure) -> (snapshots: [Removal], leftovers: [Leftover]) {
        let run = try attempting("cannot look at running processes") { () throws(SyscallFailure) in
            try Run(in: runs)
        }
        let ended = try attempting("cannot look at running processes") { () throws(SyscallFailure) in
            try Run.all(in: runs, but: run).ended
        }
        let dead = Set(try unfinished(of: ended))
        let abandoned = try snapshotsOfRemovedBundles()
        // In a write transaction, so that every directory has its row.
        let (snapshots, orphans) = try database.write { transaction in
            let (removals, known) = try self.unneededAfterRecovery(
                from: ended, without: abandoned, in: run, transaction)
            return (removals, try self.trash.orphans(known: known.subtracting(dead)))
        }
        let leftovers = try attempting("cannot measure leftovers") { () throws(SyscallFailure) in
            let removed = try trash.isBeingEmptied() ? Leftover.Reason.deleting : .removed
            var leftovers = [Leftover]()
            for name in try trash.contents() + orphans {
                guard let size = try backend.folder.directory.diskUsage(of: name) else { continue }
                let isUnfinished = Int64(name.description).map(dead.contains) ?? false
                leftovers.append(
                    Leftover(
                        name: name.description, size: size,
                        reason: Trash.contains(name) ? removed : isUnfinished ? .unfinished : .orphan))
            }
            return leftovers
        }
        return (snapshots.map(measured), leftovers)
    }

    /// Measures a removal whose snapshot was not measured when it was committed.
    private func measured(_ removal: Removal) -> Removal {
        let snapshot = removal.snapshot
        let usage =
            removal.usage
            ?? (try? measure(
                snapshot.id, isCommitted: snapshot.kind == .committed, on: removal.parent, snapshot.name))
        return Removal(snapshot: snapshot, usage: usage, reason: removal.reason, parent: removal.parent)
    }

    /// Removes the snapshots of removed bundles, and then every layer that no image, no other snapshot and no running
    /// unpack needs.
    ///
    /// - Parameters:
    ///   - run: a run of the caller, whose start has removed the leftovers.
    ///   - deletion: how much of the trees is deleted when this returns.
    /// - Returns: the removed snapshots.
    package func prune(in run: Run, _ deletion: Deletion = .complete) throws(StoreFailure) -> [Removal] {
        let abandoned = try snapshotsOfRemovedBundles()
        let removals = try database.write(.durable) { transaction in
            let removals = try self.removals(without: abandoned, transaction)
            try transaction.deleteLeaves(removals.map(\.snapshot.id))
            return removals
        }
        try trash.delete(directoriesOf: removals.map(\.snapshot.id), deletion)
        return removals
    }

    /// The active snapshots whose bundles were removed, and which are not mounted. Nothing else would ever remove them.
    ///
    /// Not in a transaction: other processes would wait for a file system that does not answer.
    private func snapshotsOfRemovedBundles() throws(StoreFailure) -> [Removal] {
        let candidates = try database.read { transaction in
            try transaction.activeSnapshotsOfUsers().map { ($0, try transaction.info($0)) }
        }
        let mounted = try attempting("cannot read the mount table") {
            () throws(SyscallFailure) -> [Int64: FilePath] in
            try self.mounted()
        }
        return candidates.compactMap { row, snapshot in
            guard let bundle = BundleDirectory(snapshot.labels), mounted[row.id] == nil, bundle.isGone else {
                return nil
            }
            return Removal(snapshot: snapshot, usage: row.usage, reason: .bundleGone, parent: row.parent?.id)
        }
    }

    /// What is to be removed: the abandoned snapshots that still exist, and what nothing needs without them.
    func removals(without abandoned: [Removal], _ transaction: StoreTransaction) throws -> [Removal] {
        let existing = try transaction.snapshotIDs()
        let abandoned = abandoned.filter { existing.contains($0.snapshot.id) }
        let unneeded = try transaction.rollingBack {
            try transaction.deleteLeaves(abandoned.map(\.snapshot.id))
            return try self.unneeded(transaction)
        }
        return abandoned + unneeded
    }

    /// Committed layers of images that nothing needs, newest first.
    func unneeded(_ transaction: StoreTransaction) throws -> [Removal] {
        try transaction.unneeded(mounted: mounted().keys).map { row in
            Removal(
                snapshot: try transaction.info(row), usage: row.usage,
                reason: row.trust == .distrusted ? .distrusted : .noImage, parent: row.parent?.id)
        }
    }

    // MARK: Mounted snapshots

    /// Snapshots that are mounted, or are layers of a mount, with the mount point, as far as this process sees mounts.
    func mounted() throws(SyscallFailure) -> [Int64: FilePath] {
        var mounted = [Int64: FilePath]()
        for (used, target) in try MountTable.read().users(below: backend.folder.path) {
            // A mount of an image beside it, which the deletion ends.
            if target.starts(with: backend.folder.path) { continue }
            var rest = used
            guard rest.removePrefix(backend.folder.path), let name = rest.components.first?.string,
                let id = Int64(name)
            else { continue }
            mounted[id] = target
        }
        return mounted
    }

    /// - Throws: `.failedPrecondition`.
    func refuseMounted(_ id: Int64, _ doing: String) throws {
        guard let target = try mounted()[id] else { return }
        throw StoreFailure(
            .failedPrecondition, "\(doing): it is mounted on '\(escaped(target))'",
            hint: "unmount it there, and try again")
    }
}

extension Directory {
    /// Bytes that a name and all below it take; nil if it is missing.
    fileprivate func diskUsage(of name: FileName) throws(SyscallFailure) -> Int64? {
        guard let status = try status(of: name) else { return nil }
        guard status.isDirectory else { return status.blocks * FileStatus.blockSize }
        do throws(SyscallFailure) {
            return try SnapshotUsage(of: try open(name)).size
        } catch {
            // Another process is deleting it.
            if error.isMissing { return nil }
            throw error
        }
    }
}
