internal import GRDB
internal import Kernel
internal import Mounts
internal import SystemPackage

/// A snapshot that goes, or would go.
package struct Removal: Sendable, Equatable {
    package let snapshot: SnapshotInfo
    package let usage: SnapshotUsage?
    package let reason: Reason

    package enum Reason: String, Sendable {
        case noImage = "no image needs it"
        case distrusted =
            "it was not on the disk when the machine stopped, or inherited from its surroundings"
    }
}

/// What crashes have left, and takes space without being anything.
package struct Leftover: Sendable, Equatable {
    /// In the snapshotter's folder.
    package let name: String
    package let size: Int64
    package let reason: Reason

    package enum Reason: String, Sendable {
        case unfinished = "the process that was making it has ended"
        case removed = "it was being deleted"
        case swept = "it is being deleted"
        case orphan = "no snapshot has this directory"
    }
}

/// Removing what nobody needs. Only what the unpacker made goes: what users and services made is theirs.
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
        // In a transaction, so that no directory is between its making and its row.
        let (snapshots, names) = try write { database in
            let (removals, known) = try self.unneededOnceReaped(ended, but: run, database)
            let names = try self.backend.folder.directory.names().filter { name in
                guard let id = Int64(name.description) else { return name.hasPrefix(".") }
                return dead.contains(id) || !known.contains(id)
            }
            return (removals, names)
        }
        let leftovers = try attempting("cannot measure leftovers") { () throws(SyscallFailure) in
            var leftovers = [Leftover]()
            let removed = try SweepLock.isTaken(snapshotter, in: locks) ? Leftover.Reason.swept : .removed
            for name in names {
                guard let size = try backend.folder.directory.diskUsage(of: name) else { continue }
                let isUnfinished = Int64(name.description).map(dead.contains) ?? false
                leftovers.append(
                    Leftover(
                        name: name.description, size: size,
                        reason: name.isRemoved ? removed : isUnfinished ? .unfinished : .orphan))
            }
            return leftovers
        }
        return (snapshots.map(measured), leftovers)
    }

    /// One that was not measured when it was committed is now, unless it goes meanwhile.
    private func measured(_ removal: Removal) -> Removal {
        let usage = removal.usage ?? (try? measure(removal.snapshot.id, removal.snapshot.name))
        return Removal(snapshot: removal.snapshot, usage: usage, reason: removal.reason)
    }

    /// Removes every layer that no image, no other snapshot and no running unpack needs.
    ///
    /// - Parameters:
    ///   - run: of the caller's, whose start has removed the leftovers.
    ///   - deletion: how much of their trees is gone when this returns.
    /// - Returns: what was removed.
    package func prune(in run: Run, _ deletion: Deletion = .whole) throws(StoreFailure) -> [Removal] {
        let removals = try write(.durable) { database in
            let removals = try self.unneeded(database)
            try self.deleteRows(removals.map(\.snapshot.id), database)
            return removals
        }
        try deleteDirectories(of: removals.map(\.snapshot.id), deletion)
        return removals
    }

    /// Snapshots that are mounted, or layers of what is, with where: as far as this process sees them.
    func mounted() throws(SyscallFailure) -> [Int64: FilePath] {
        var mounted = [Int64: FilePath]()
        for (used, target) in try MountTable.read().users(below: backend.folder.path) {
            var rest = used
            guard rest.removePrefix(backend.folder.path), let name = rest.components.first?.string,
                let id = Int64(name)
            else { continue }
            mounted[id] = target
        }
        return mounted
    }

    func refuseMounted(_ id: Int64, _ doing: String) throws {
        guard let target = try mounted()[id] else { return }
        throw StoreFailure(
            .failedPrecondition, "\(doing): it is mounted on '\(escaped(target))'",
            hint: "unmount it there, and try again")
    }

    /// Committed layers of images' that nothing stands on, newest first.
    func unneeded(_ database: Database) throws -> [Removal] {
        let mounted = try mounted().keys.map(String.init).joined(separator: ",")
        let rows = try SnapshotRow.fetchAll(
            database,
            sql: """
                WITH RECURSIVE needed(id) AS (
                    SELECT top FROM image
                    UNION SELECT id FROM snapshot WHERE kind != 'committed' OR owner != 'images'
                    UNION SELECT snapshot FROM pin
                    UNION SELECT snapshot FROM claim
                    UNION SELECT id FROM snapshot WHERE id IN (\(mounted))
                    UNION SELECT snapshot.parent FROM snapshot JOIN needed USING (id) WHERE snapshot.parent IS NOT NULL
                )
                \(SnapshotRow.select)
                WHERE snapshot.snapshotter = ? AND snapshot.id NOT IN needed ORDER BY snapshot.id DESC
                """, arguments: [snapshotter])
        return try rows.map { row in
            Removal(
                snapshot: try row.info(database), usage: row.usage,
                reason: row.isDistrusted ? .distrusted : .noImage)
        }
    }

    /// Deletes rows of which some are others' parents, and leaves those that are parents of yet others.
    func deleteRows(_ ids: [Int64], _ database: Database) throws {
        var rest = ids
        var count = 0
        repeat {
            count = rest.count
            rest = try rest.filter { id in
                try database.execute(
                    sql: """
                        DELETE FROM snapshot WHERE id = ?1
                        AND NOT EXISTS (SELECT 1 FROM snapshot AS child WHERE child.parent = ?1)
                        """, arguments: [id])
                return database.changesCount == 0
            }
        } while rest.count < count
    }
}

extension Directory {
    /// Bytes that a name and all below it take; nil if it is gone.
    fileprivate func diskUsage(of name: FileName) throws(SyscallFailure) -> Int64? {
        guard let status = try status(of: name) else { return nil }
        guard status.isDirectory else { return status.blocks * FileStatus.blockSize }
        do throws(SyscallFailure) {
            return try SnapshotUsage(of: try open(name)).size
        } catch {
            // It is being deleted by somebody else.
            if error.isMissing { return nil }
            throw error
        }
    }
}
