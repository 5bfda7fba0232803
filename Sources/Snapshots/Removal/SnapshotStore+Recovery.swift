internal import Kernel

/// Recovery from ended runs and ended boots. What is left of them is derived from what exists, not from a journal.
extension SnapshotStore {
    /// Registers this process as a writer, and removes what ended runs have left.
    ///
    /// - Parameter deletion: how much of the leftovers is deleted when this returns.
    /// - Throws: `.system`, `.busy`.
    package func startRun(_ deletion: Deletion = .complete) throws(StoreFailure) -> Run {
        let run = try attempting("cannot begin to write to the store \(escaped(root))") {
            () throws(SyscallFailure) in
            try Run(in: runs)
        }
        try recover(in: run, deletion)
        return run
    }

    /// Removes what crashes and interrupted removals have left (containerd `Cleaner`), as the start of every run does.
    package func cleanup() throws(StoreFailure) { _ = try startRun() }

    /// Removes unfinished snapshots of ended runs, layers of which no disk is known to hold the files, and directories
    /// without a row.
    ///
    /// A process that is only to unpack starts no other process in the background. It deletes what a crash has left,
    /// which is rare, by itself, and leaves to another process what that one is deleting.
    private func recover(in run: Run, _ deletion: Deletion) throws(StoreFailure) {
        let doing = "cannot remove leftovers"
        let (living, ended) = try attempting(doing) { () throws(SyscallFailure) in
            try Run.all(in: runs, but: run)
        }
        // Before the first write, which on a full disk needs the space that this frees.
        let dead = try unfinished(of: ended)
        try trash.delete(directoriesOf: dead, deletion)
        try database.write(caller: "recover") { transaction in
            // Includes runs that have begun since: a run makes its file before its first snapshot.
            let begun = try Run.all(in: self.runs, but: run).living
            let names = Set(living + begun + [run.name]).subtracting(ended.map(\.name.description))
            try transaction.deleteUnfinished(exceptOfRuns: Array(names))
            let suspects = try transaction.distrustOtherBoots()
            let unneeded = Set(try self.unneeded(transaction).map(\.snapshot.id))
            try transaction.deleteLeaves(suspects.filter(unneeded.contains))
            for name in try self.trash.orphans(known: transaction.snapshotIDs()) { try self.trash.move(name) }
        }
        try attempting(doing) { () throws(SyscallFailure) in
            // After the transaction: a crash before this leaves the run to the next recovery.
            for run in ended { try runs.removeTree(run.name) }
            if deletion == .started { try trash.beginDeleting() }
        }
        if deletion == .complete { try emptyTrash(waits: false) }
    }

    /// The snapshots that a recovery and `prune` would remove, without removing them.
    ///
    /// - Returns: also the IDs of all snapshots, these included.
    func unneededAfterRecovery(
        from ended: [EndedRun], without abandoned: [Removal], in run: Run, _ transaction: StoreTransaction
    ) throws -> (removals: [Removal], known: Set<Int64>) {
        try transaction.rollingBack {
            let living = Set(try Run.all(in: self.runs, but: run).living + [run.name])
            try transaction.deleteUnfinished(
                exceptOfRuns: Array(living.subtracting(ended.map(\.name.description))))
            _ = try transaction.distrustOtherBoots()
            return (try self.removals(without: abandoned, transaction), try transaction.snapshotIDs())
        }
    }

    /// The snapshots that ended runs have not finished.
    func unfinished(of runs: [EndedRun]) throws(StoreFailure) -> [Int64] {
        try database.read { try $0.unfinished(ofRuns: runs.map(\.name.description)) }
    }
}
