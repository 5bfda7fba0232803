internal import GRDB
internal import Kernel

/// What ended runs and ended boots have left behind. Derived from what is there, not from a journal.
extension SnapshotStore {
    /// A directory that is on its way out.
    private static let removed = ".removed-"

    /// Removes what crashes and removals that were cut short have left (containerd `Cleaner`). The start of every run does
    /// the same.
    package func cleanup() throws(StoreFailure) { _ = try startRun() }

    /// Removes what no living process is making, what no disk is known to hold, and what no row names.
    ///
    /// A process that is only to unpack starts no other one in the background. It deletes what a crash has left, which is
    /// seldom, by itself; what another process is deleting it leaves to that one.
    func reap(but run: Run, _ deletion: Deletion) throws(StoreFailure) {
        let doing = "cannot remove leftovers"
        let (living, ended) = try attempting(doing) { () throws(SyscallFailure) in
            try Run.all(in: runs, but: run)
        }
        // Before the first write: where the disk is full, this is what makes room for it.
        let dead = try unfinished(of: ended)
        try deleteDirectories(of: dead, deletion)
        try write { database in
            // Runs that began since are inside: what they have made came after their files.
            let begun = try Run.all(in: self.runs, but: run).living
            let names = Set(living + begun + [run.name]).subtracting(ended.map(\.name.description))
            try self.forgetOthers(than: names, database)
            let suspects = try self.distrustOtherBoots(database)
            let unneeded = Set(try self.unneeded(database).map(\.snapshot.id))
            try self.deleteRows(suspects.filter(unneeded.contains), database)
            try self.setAsideOrphans(database)
        }
        try attempting(doing) { () throws(SyscallFailure) in
            // Only now: a crash before this leaves the run to the next reaper.
            for run in ended { try runs.removeTree(run.name) }
            if deletion == .begun { try backend.delete(try namesSetAside(), .begun) }
        }
        if deletion == .whole { try sweep(waits: false) }
    }

    /// What a transaction of `reap` and `prune` would delete of the rows, without doing it.
    ///
    /// - Returns: what would go, and the ids of that and of what would stay.
    func unneededOnceReaped(
        _ ended: [EndedRun], but run: Run, _ database: Database
    ) throws -> (removals: [Removal], known: Set<Int64>) {
        var result: (removals: [Removal], known: Set<Int64>) = ([], [])
        try database.inSavepoint {
            let living = Set(try Run.all(in: self.runs, but: run).living + [run.name])
            try self.forgetOthers(than: living.subtracting(ended.map(\.name.description)), database)
            _ = try self.distrustOtherBoots(database)
            result = (try self.unneeded(database), try self.knownIDs(database))
            return .rollback
        }
        return result
    }

    /// Deletes what runs other than these were making, and what they held.
    private func forgetOthers(than runs: Set<String>, _ database: Database) throws {
        let marks = runs.map { _ in "?" }.joined(separator: ",")
        let names = StatementArguments(Array(runs))
        try database.execute(
            sql: "DELETE FROM snapshot WHERE run IS NOT NULL AND run NOT IN (\(marks))", arguments: names)
        try database.execute(sql: "DELETE FROM pin WHERE run NOT IN (\(marks))", arguments: names)
    }

    /// The snapshots that ended runs have not finished.
    func unfinished(of runs: [EndedRun]) throws(StoreFailure) -> [Int64] {
        let names = runs.map(\.name.description)
        let marks = names.map { _ in "?" }.joined(separator: ",")
        return try read { database in
            try Int64.fetchAll(
                database, sql: "SELECT id FROM snapshot WHERE run IN (\(marks))",
                arguments: StatementArguments(names))
        }
    }

    /// What another boot committed and did not sync may be damaged, and so may be what is based on it: it is
    /// no longer taken for its chain, and no image's. What a user's snapshot stands on stays under the other name that
    /// it gets.
    ///
    /// - Returns: all of it.
    private func distrustOtherBoots(_ database: Database) throws -> [Int64] {
        let suspects = try Int64.fetchAll(
            database,
            sql: """
                WITH RECURSIVE suspect(id) AS (
                    SELECT id FROM snapshot WHERE boot IS NOT NULL AND boot != ?1 AND verified_chain IS NOT NULL
                    UNION
                    SELECT snapshot.id FROM snapshot JOIN suspect ON snapshot.parent = suspect.id
                )
                SELECT suspect.id FROM suspect JOIN snapshot USING (id)
                WHERE snapshot.snapshotter = ?2 AND snapshot.kind = 'committed' ORDER BY suspect.id DESC
                """, arguments: [boot, snapshotter])
        for id in suspects {
            try database.execute(sql: "DELETE FROM image WHERE top = ?", arguments: [id])
            try database.execute(
                sql: """
                    UPDATE snapshot SET verified_chain = NULL, name = 'distrusted/' || id || '/' || name WHERE id = ?
                    """, arguments: [id])
        }
        return suspects
    }

    private func knownIDs(_ database: Database) throws -> Set<Int64> {
        Set(
            try Int64.fetchAll(
                database, sql: "SELECT id FROM snapshot WHERE snapshotter = ?", arguments: [snapshotter]))
    }

    /// Renames what no row names, so that it can be deleted outside the transaction.
    private func setAsideOrphans(_ database: Database) throws {
        let known = try knownIDs(database)
        for name in try backend.folder.directory.names() where !name.isRemoved {
            // What has neither a number nor a dot is the backend's own; dots are for what is made aside.
            let isOrphan = Int64(name.description).map { !known.contains($0) } ?? name.hasPrefix(".")
            if isOrphan { try setAside(name) }
        }
    }

    /// Renames a directory out of the way, so that it no longer looks like a snapshot's.
    ///
    /// - Returns: its new name; nil if there was none.
    @discardableResult
    func setAside(_ name: FileName) throws(SyscallFailure) -> FileName? {
        let aside = FileName(literal: "\(Self.removed)\(UInt64.random(in: .min ... .max))")
        do {
            try backend.folder.directory.rename(name, to: aside)
            return aside
        } catch let error where error.isMissing {
            return nil
        }
    }
}

extension FileName {
    /// Of a directory that is on its way out.
    var isRemoved: Bool { hasPrefix(".removed-") }
}
