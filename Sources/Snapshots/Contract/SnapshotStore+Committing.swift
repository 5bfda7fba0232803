internal import Kernel
package import OCI

/// Commits: of users' snapshots under any name, and of the unpacker's layers as the chains that they hold.
extension SnapshotStore {
    /// Turns a user's active snapshot into a committed one under a new name, with exactly these labels.
    ///
    /// - Parameters:
    ///   - parent: for a snapshot that was prepared without one (containerd: `WithParent`, rebase); nil keeps the
    ///     parent.
    ///   - isSynced: whether its files are on the disk when this returns. Its row is in any case.
    ///   - isMeasured: whether its usage is recorded, which takes a walk through its tree.
    /// - Throws: `.notFound`, `.failedPrecondition` if it is not active or the parent not committed, `.alreadyExists`
    ///   if the name is taken, `.invalidArgument` for another parent than it has and for labels, `.system`.
    package func commit(
        _ key: String, as name: String, onto parent: String? = nil, labels: [String: String] = [:],
        isSynced: Bool, isMeasured: Bool = true
    ) throws(StoreFailure) {
        let row = try database.read { transaction in
            let row = try transaction.existing(key)
            try row.refuseUnfinished()
            // Checked again by the commit; here, so that misuse is reported before a tree is measured.
            _ = try self.checkCommit(row, as: name, onto: parent, transaction)
            return row
        }
        let commit = Commit(
            id: row.id, base: row.parent?.id, key: key, name: name, parent: parent, labels: labels,
            origin: .client(isSynced: isSynced), isRecorded: isSynced, isMeasured: isMeasured)
        try failing("cannot commit '\(key)'") { try perform(commit) }
    }

    /// Turns a run's layer into a committed snapshot that is verified to hold a chain, and pins it for the run. The
    /// caller has the proof, an `AppliedLayer`.
    ///
    /// On failure the snapshot is removed, as by `abandon`.
    ///
    /// - Parameters:
    ///   - isRecorded: whether to record its tree, so that `verify` can find later changes.
    ///   - knownDigests: digests that the caller has already: the record needs no second reading of that content.
    ///   - check: called while the tree is recorded; an error that it throws ends the work.
    /// - Throws: as `commit(_:as:onto:labels:isSynced:)`, and errors of `check`.
    package func commit(
        _ active: consuming ActiveSnapshot, as chain: ChainID, onto parent: String?, isRecorded: Bool,
        in run: Run, knownDigests known: KnownDigests = KnownDigests(), check: () throws -> Void = {}
    ) throws {
        let commit = Commit(
            id: active.id, base: active.parent, key: active.key, name: chain.description, parent: parent,
            labels: [:], origin: .layer(chain, run),
            // A layer that is to stay for this boot only is measured on demand. For an image that takes no time.
            isRecorded: isRecorded || content == .image, isMeasured: isRecorded || content == .image)
        do {
            try close(active)
            try perform(commit, known, check)
        } catch {
            discard(commit.id)
            throw error
        }
    }

    /// Completes the content of a snapshot before its commit.
    ///
    /// - Throws: `StoreFailure`, errors of `check`.
    func finish(
        _ id: Int64, for purpose: SnapshotPurpose, _ key: String, _ check: () throws -> Void = {}
    ) throws {
        do {
            try backend.finish(id, for: purpose, check: check)
        } catch {
            throw StoreFailure(ofFiles: error, "cannot commit '\(key)'") ?? error
        }
    }

    /// Ends the writing, and closes what the tree is mounted by.
    func close(_ active: consuming ActiveSnapshot) throws(StoreFailure) {
        try attempting("cannot write '\(active.key)'") { () throws(SyscallFailure) in try active.flush() }
    }

    private struct Commit {
        enum Origin {
            /// A user or a client of a service.
            case client(isSynced: Bool)
            case layer(ChainID, Run)

            var purpose: SnapshotPurpose {
                switch self {
                case .client: .changes
                case .layer: .layer
                }
            }
        }

        let id: Int64
        /// The parent that it was prepared on.
        let base: Int64?
        let key: String
        let name: String
        /// The parent that it gets now; nil if it keeps `base`.
        let parent: String?
        let labels: [String: String]
        let origin: Origin
        let isRecorded: Bool
        let isMeasured: Bool
    }

    private func perform(
        _ commit: Commit, _ known: KnownDigests = KnownDigests(), _ check: () throws -> Void = {}
    ) throws {
        let labels = try SnapshotLabels.stored(of: commit.labels)
        try finish(commit.id, for: commit.origin.purpose, commit.key, check)
        let record =
            commit.isRecorded ? try self.record(commit.id, commit.key, known: known, check: check) : nil
        let isSynced: Bool
        let promise: StoreDatabase.Promise
        switch commit.origin {
        case .client(let sync):
            isSynced = sync
            // The client may refer to the name in a database of its own that is durable at once.
            promise = .durable
        case .layer:
            isSynced = false
            promise = .ordinary
        }
        let usage =
            commit.isMeasured
            ? try measure(commit.id, isCommitted: true, on: commit.base, commit.key, tree: record?.usage)
            : nil
        let synced = isSynced ? try syncWithParents(commit) : SyncedSnapshots()
        try database.write(promise, caller: "commit") { transaction in
            let row = try transaction.existing(commit.key)
            // Of another snapshot of this key, nothing was recorded or measured.
            guard row.id == commit.id else {
                throw StoreFailure(
                    .notFound, "the snapshot '\(commit.key)' was replaced while it was committed")
            }
            let parent = try self.checkCommit(row, as: commit.name, onto: commit.parent, transaction)
            var chain: ChainID?
            if case .layer(let verified, let run) = commit.origin {
                chain = verified
                try transaction.pin(row.id, in: run)
            }
            try transaction.commit(
                .init(
                    id: row.id, name: commit.name, parent: parent, verifiedChain: chain, usage: usage,
                    treeDigest: record?.digest, date: self.clock()))
            try transaction.setLabels(labels, of: row.id)
            try transaction.markDurable(synced)
        }
        // A committed snapshot is complete without it.
        try? backend.seal(commit.id)
    }

    /// Syncs the new snapshot, and those below it that are not known to be on the disk.
    private func syncWithParents(_ commit: Commit) throws -> SyncedSnapshots {
        let pending = try database.read { transaction in
            let top = try commit.parent.flatMap { try transaction.snapshot(named: $0)?.id } ?? commit.id
            return try transaction.pending(among: transaction.ancestry(of: top))
        }
        return try sync(pending.filter { $0 != commit.id } + [commit.id])
    }

    /// Checks the contract's rules for a commit.
    ///
    /// - Returns: the ID of the parent that the snapshot will have.
    private func checkCommit(
        _ row: SnapshotRow, as name: String, onto parent: String?, _ transaction: StoreTransaction
    ) throws -> Int64? {
        guard row.kind == .active else {
            throw StoreFailure(
                .failedPrecondition, "the snapshot '\(row.name)' is \(row.kind.rawValue), not active",
                hint: "only what 'unpack snapshot prepare' has made can be committed")
        }
        try transaction.refuseTaken(name, noun: "name")
        guard let parent else { return row.parent?.id }
        if let own = row.parent, !own.name.utf8.elementsEqual(parent.utf8) {
            throw StoreFailure(
                .invalidArgument, "the snapshot '\(row.name)' has the parent '\(own.name)', not '\(parent)'")
        }
        let id = try transaction.parent(.name(parent), orElse: .failedPrecondition).id
        if content == .mergedTree, row.parent == nil {
            throw StoreFailure(
                .invalidArgument,
                "the snapshot '\(row.name)' was made of nothing and does not hold the files of '\(parent)'",
                hint: "prepare it on '\(parent)': \(snapshotter) cannot put one under it later")
        }
        return id
    }
}
