internal import GRDB
package import Kernel
package import OCI
package import Streams

/// Commits: of users' snapshots under any name, and of the unpacker's layers as the chains that they are.
extension SnapshotStore {
    /// Turns a user's active snapshot into a committed one under a new name, with these labels and no others.
    ///
    /// - Parameters:
    ///   - parent: of one that was prepared without (containerd: `WithParent`, rebase); nil leaves it as it is.
    ///   - isSynced: whether it is on the disk when this returns. Its row is in any case.
    ///   - isMeasured: whether its usage is known when this returns, which takes a walk through its tree.
    /// - Throws: `.notFound`, `.failedPrecondition` if it is not active or the parent not committed, `.alreadyExists` if
    ///   the name is taken, `.invalidArgument` for another parent than it has and for labels, `.system`.
    package func commit(
        _ key: String, as name: String, onto parent: String? = nil, labels: [String: String] = [:],
        isSynced: Bool, isMeasured: Bool = true
    ) throws(StoreFailure) {
        let row = try read { database in
            let row = try self.row(key, database)
            try self.refuseUnfinished(row)
            // Again inside the transaction; here, so that misuse is told before a tree is measured.
            _ = try self.checkCommit(row, as: name, onto: parent, database)
            return row
        }
        try translating {
            try finishCommit(
                Committing(
                    id: row.id, key: key, name: name, parent: parent, labels: labels, isRecorded: isSynced,
                    isMeasured: isMeasured),
                isSynced: isSynced, { _ in nil }, {})
        }
    }

    /// Turns a run's layer into a committed snapshot that is known to hold a chain, and keeps it for the run. Give the
    /// chain only with the proof in hand.
    ///
    /// On failure it is gone, as after `abandon`.
    ///
    /// - Parameters:
    ///   - isRecorded: whether its tree is recorded, so that `verify` can tell later whether it is still the same.
    ///   - known: digests of the tree's regular files, as far as the caller has them: the record is made without
    ///     reading those again.
    ///   - check: asked while the tree is recorded; what it throws ends the work.
    /// - Throws: as `commit(_:as:onto:labels:isSynced:)`, and what `check` throws.
    package func commit(
        _ active: consuming ActiveSnapshot, as chain: ChainID, onto parent: String?, isRecorded: Bool,
        in run: Run, known: (FileStatus) -> ContentDigest? = { _ in nil }, check: () throws -> Void = {}
    ) throws {
        let name = chain.description
        let committing = Committing(
            id: active.id, key: active.key, name: name, parent: parent,
            labels: [:], chain: chain, run: run,
            // What is to stay for this boot only is measured when somebody asks.
            isRecorded: isRecorded, isMeasured: isRecorded)
        do {
            try close(active)
            try finishCommit(committing, isSynced: false, known, check)
        } catch {
            discard(committing.id)
            throw error
        }
    }

    /// Ends the writing: what the tree is mounted by goes.
    func close(_ active: consuming ActiveSnapshot) throws(StoreFailure) {
        try attempting("cannot write '\(active.key)'") { () throws(SyscallFailure) in try active.flush() }
    }

    private struct Committing {
        let id: Int64
        let key: String
        let name: String
        let parent: String?
        let labels: [String: String]
        var chain: ChainID?
        var run: Run?
        let isRecorded: Bool
        let isMeasured: Bool
    }

    private func finishCommit(
        _ wanted: Committing, isSynced: Bool, _ known: (FileStatus) -> ContentDigest?,
        _ check: () throws -> Void
    ) throws {
        let labels = try SnapshotLabels.stored(of: wanted.labels)
        try backend.finish(wanted.id)
        let record = wanted.isRecorded ? try record(wanted, known, check) : nil
        let usage = wanted.isMeasured ? try measure(wanted.id, wanted.key, tree: record?.usage) : nil
        if isSynced { try syncFileSystem() }
        // What somebody has named is theirs to refer to, and what refers to it may be on the disk at once.
        try write(isSynced || wanted.chain == nil ? .durable : .ordinary) { database in
            let row = try self.row(wanted.key, database)
            let parent = try self.checkCommit(row, as: wanted.name, onto: wanted.parent, database)
            let now = self.clock()
            try database.execute(
                sql: """
                    UPDATE snapshot SET name = ?, kind = 'committed', parent = ?, run = NULL, boot = ?,
                        verified_chain = ?, size = ?, inodes = ?, tree_digest = ?, created = ?, updated = ? WHERE id = ?
                    """,
                arguments: [
                    wanted.name, parent, isSynced ? nil : self.boot, wanted.chain?.description, usage?.size,
                    usage?.inodes, record?.digest.description, now, now, row.id,
                ])
            try SnapshotRow.setLabels(labels, of: row.id, database)
            if let run = wanted.run { try self.pin(row.id, in: run, database) }
        }
        // A committed snapshot is whole without it.
        try? backend.seal(wanted.id)
    }

    private func record(
        _ wanted: Committing, _ known: (FileStatus) -> ContentDigest?, _ check: () throws -> Void
    ) throws -> (digest: Digest, usage: SnapshotUsage) {
        do {
            let tree = try backend.open(wanted.id, isWritable: false)
            return try writeRecord(of: tree, wanted.id, known: known, check: check)
        } catch let failure as SyscallFailure {
            throw StoreFailure(failure, "cannot record the tree of '\(wanted.key)'")
        }
    }

    /// The contract's rules for a commit.
    ///
    /// - Returns: the parent that it will have.
    private func checkCommit(
        _ row: SnapshotRow, as name: String, onto parent: String?, _ database: Database
    ) throws -> Int64? {
        guard row.kind == .active else {
            throw StoreFailure(
                .failedPrecondition, "the snapshot '\(row.name)' is \(row.kind.rawValue), not active",
                hint: "only what 'unpack snapshot prepare' has made can be committed")
        }
        try refuseAdopted(name, database)
        if try SnapshotRow.named(name, snapshotter, database) != nil {
            throw StoreFailure(
                .alreadyExists, "there is a snapshot '\(name)' already",
                hint: "choose another name, or remove it with 'unpack snapshot rm'")
        }
        guard let parent else { return row.parent }
        if let own = row.parentName, own != parent {
            throw StoreFailure(
                .invalidArgument, "the snapshot '\(row.name)' has the parent '\(own)', not '\(parent)'")
        }
        let id = try self.parent(parent, orElse: .failedPrecondition, database).id
        if content == .wholeTree, row.parent == nil {
            throw StoreFailure(
                .invalidArgument,
                "the snapshot '\(row.name)' was made of nothing and does not hold the files of '\(parent)'",
                hint: "prepare it on '\(parent)': \(snapshotter) cannot put one under it later")
        }
        return id
    }
}
