internal import GRDB
internal import Kernel
package import Mounts
package import OCI

/// The calls that make, finish and remove snapshots.
///
/// Whatever takes long (copying a tree, measuring one, deleting one) happens outside of transactions; until it is done
/// the row names the run that does it, so that a crash leaves nothing.
extension SnapshotStore {
    /// Makes a snapshot that can be written to.
    ///
    /// - Parameters:
    ///   - parent: a committed snapshot's name; nil for an empty tree.
    ///   - owner: whose it becomes once it is made.
    /// - Returns: how it is mounted.
    /// - Throws: `.notFound` and `.invalidArgument` for the parent, `.alreadyExists`, `.invalidArgument` for a label,
    ///   `.unavailable`, `.system`.
    @discardableResult
    package func prepare(
        _ key: String, parent: String? = nil, labels: [String: String] = [:], owner: Owner = .user,
        in run: Run
    ) throws(StoreFailure) -> [Mount] {
        if parent != nil { try refuseReadOnlyStore() }
        try publish(try make(.active, key, parent, labels, owner, run), key)
        return try mounts(of: key)
    }

    /// Makes a snapshot that nobody can write to, of a committed one or of nothing. Otherwise as `prepare`.
    @discardableResult
    package func view(
        _ key: String, parent: String? = nil, labels: [String: String] = [:], owner: Owner = .user,
        in run: Run
    ) throws(StoreFailure) -> [Mount] {
        try publish(try make(.view, key, parent, labels, owner, run), key)
        return try mounts(of: key)
    }

    /// Layers that need whiteouts as attributes can lie below an overlay mount, and never on top (kernel:
    /// overlayfs.rst, "Nesting overlayfs mounts").
    private func refuseReadOnlyStore() throws(StoreFailure) {
        guard content == .layer, try whiteoutForm() == .attribute else { return }
        throw StoreFailure(
            .unavailable,
            "the store \(escaped(root)) lies on an overlay file system: nothing in it can be mounted writable",
            hint: "put the store on ext4, xfs, btrfs or tmpfs with --root DIR")
    }

    /// Makes a snapshot for the unpacker to write a layer into: it stays the run's until it is committed.
    ///
    /// - Parameters:
    ///   - parent: where `content` is `.layer` it may be nil, and told by the commit.
    ///   - isWanted: asked while the parent is copied.
    package func prepareLayer(
        _ key: String, parent: String?, in run: Run, isWanted: () -> Bool = { true }
    ) throws(StoreFailure) -> ActiveSnapshot {
        let id = try make(.active, key, parent, [:], .images, run, isWanted)
        do throws(SyscallFailure) {
            return ActiveSnapshot(id: id, key: key, tree: try backend.open(id, isWritable: true))
        } catch {
            discard(id)
            throw StoreFailure(error, "cannot open the snapshot '\(key)'")
        }
    }

    /// Makes a snapshot that belongs to a run.
    private func make(
        _ kind: SnapshotInfo.Kind, _ key: String, _ parent: String?, _ labels: [String: String],
        _ owner: Owner, _ run: Run, _ isWanted: () -> Bool = { true }
    ) throws(StoreFailure) -> Int64 {
        let labels = try SnapshotLabels.stored(of: labels)
        // Whether it can work here at all.
        _ = try whiteoutForm()
        let (id, parentID): (Int64, Int64?) = try write { database in
            let below = try parent.map { try self.parent($0, orElse: .invalidArgument, database) }
            if try SnapshotRow.named(key, self.snapshotter, database) != nil {
                throw StoreFailure(
                    .alreadyExists, "there is a snapshot '\(key)' already",
                    hint: "choose another key, or remove it with 'unpack snapshot rm'")
            }
            let now = self.clock()
            try database.execute(
                sql: """
                    INSERT INTO snapshot (snapshotter, name, kind, parent, owner, run, created, updated)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    self.snapshotter, key, kind.rawValue, below?.id, owner.rawValue, run.name, now, now,
                ])
            let id = database.lastInsertedRowID
            try SnapshotRow.setLabels(labels, of: id, database)
            // Left behind by a transaction that was rolled back.
            try self.setAside(FileName(id: id))
            try self.backend.folder.directory.makeDirectory(FileName(id: id), mode: 0o700)
            return (id, below?.id)
        }
        do throws(SyscallFailure) {
            try backend.make(id, isView: kind == .view, on: parentID, isWanted: isWanted)
        } catch {
            discard(id)
            throw StoreFailure(error, "cannot make the snapshot '\(key)'")
        }
        return id
    }

    /// Hands a finished snapshot over to its owner, to stay.
    private func publish(_ id: Int64, _ key: String) throws(StoreFailure) {
        do throws(StoreFailure) {
            try attempting("cannot write the snapshot '\(key)' to disk") { () throws(SyscallFailure) in
                try backend.persist(id)
            }
            try write(.durable) {
                try $0.execute(sql: "UPDATE snapshot SET run = NULL WHERE id = ?", arguments: [id])
            }
        } catch {
            discard(id)
            throw error
        }
    }

    /// - Throws: `.notFound`, and what is asked for if it is not committed.
    private func parent(
        _ name: String, orElse kind: StoreFailure.Kind, _ database: Database
    ) throws -> SnapshotRow {
        guard let row = try SnapshotRow.named(name, snapshotter, database) else {
            throw StoreFailure(
                .notFound, "there is no parent '\(name)'",
                hint: "list what can be one with 'unpack snapshot ls --filter kind==committed'")
        }
        guard row.kind == .committed else {
            throw StoreFailure(
                kind, "the parent '\(name)' is not committed", hint: "commit it with 'unpack snapshot commit'"
            )
        }
        return row
    }

    // MARK: Committing

    /// Turns a user's active snapshot into a committed one under a new name, with these labels and no others.
    ///
    /// - Parameters:
    ///   - parent: of one that was prepared without (containerd: `WithParent`, rebase); nil leaves it as it is.
    ///   - isSynced: whether it is on the disk when this returns.
    /// - Throws: `.notFound`, `.failedPrecondition` if it is not active or the parent not committed, `.alreadyExists` if
    ///   the name is taken, `.invalidArgument` for another parent than it has and for labels, `.system`.
    package func commit(
        _ key: String, as name: String, onto parent: String? = nil, labels: [String: String] = [:],
        isSynced: Bool
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
                    id: row.id, key: key, name: name, parent: parent, labels: labels, isRecorded: isSynced),
                isSynced: isSynced, {})
        }
    }

    /// Turns a run's layer into a committed snapshot that is known to hold a chain, and keeps it for the run. Give the
    /// chain only with the proof in hand.
    ///
    /// On failure it is gone, as after `abandon`.
    ///
    /// - Parameters:
    ///   - isRecorded: whether its tree is recorded, so that `verify` can tell later whether it is still the same.
    ///   - check: asked while the tree is recorded; what it throws ends the work.
    /// - Throws: as `commit(_:as:onto:labels:isSynced:)`, and what `check` throws.
    package func commit(
        _ active: consuming ActiveSnapshot, as chain: ChainID, onto parent: String?, isRecorded: Bool,
        in run: Run,
        check: () throws -> Void = {}
    ) throws {
        let name = chain.description
        let committing = Committing(
            id: active.id, key: active.key, name: name, parent: parent,
            labels: ["containerd.io/snapshot.ref": name], chain: chain, run: run,
            isRecorded: isRecorded)
        do {
            try close(active)
            try finishCommit(committing, isSynced: false, check)
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
        var isRecorded: Bool
    }

    private func finishCommit(
        _ wanted: Committing, isSynced: Bool, _ check: () throws -> Void
    ) throws {
        let labels = try SnapshotLabels.stored(of: wanted.labels)
        try backend.finish(wanted.id)
        let usage = try measure(wanted.id, wanted.key)
        let digest = wanted.isRecorded ? try record(wanted, check) : nil
        if isSynced { try syncFileSystem() }
        try write(isSynced ? .durable : .ordinary) { database in
            let row = try self.row(wanted.key, database)
            let parent = try self.checkCommit(row, as: wanted.name, onto: wanted.parent, database)
            let now = self.clock()
            try database.execute(
                sql: """
                    UPDATE snapshot SET name = ?, kind = 'committed', parent = ?, run = NULL, boot = ?,
                        verified_chain = ?, size = ?, inodes = ?, tree_digest = ?, created = ?, updated = ? WHERE id = ?
                    """,
                arguments: [
                    wanted.name, parent, isSynced ? nil : self.boot, wanted.chain?.description, usage.size,
                    usage.inodes, digest?.description, now, now, row.id,
                ])
            try SnapshotRow.setLabels(labels, of: row.id, database)
            if let run = wanted.run { try self.pin(row.id, in: run, database) }
        }
        // A committed snapshot is whole without it.
        try? backend.seal(wanted.id)
    }

    private func record(_ wanted: Committing, _ check: () throws -> Void) throws -> Digest {
        do {
            return try writeRecord(of: try backend.open(wanted.id, isWritable: false), wanted.id, check)
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

    // MARK: Changing labels

    /// Changes labels, and nothing else.
    ///
    /// - Parameters:
    ///   - labels: the new ones.
    ///   - fields: `labels` or nothing for all of them, `labels.KEY` for that one: set, or deleted if `labels` lacks it.
    /// - Throws: `.notFound`, `.invalidArgument` for other fields and for labels that are too long.
    @discardableResult
    package func update(
        _ name: String, labels: [String: String], fields: [String] = []
    ) throws(StoreFailure) -> SnapshotInfo {
        try write { database in
            let info = try self.row(name, database).info(database)
            let updated = try SnapshotLabels.updating(info.labels, to: labels, fields: fields)
            try SnapshotRow.setLabels(updated, of: info.id, database)
            try database.execute(
                sql: "UPDATE snapshot SET updated = ? WHERE id = ?", arguments: [self.clock(), info.id])
            return try self.row(name, database).info(database)
        }
    }

    // MARK: Removing

    /// Removes a snapshot of any kind that nothing else needs. It is gone when the transaction is; its directory was
    /// renamed by then, and is deleted before this returns.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` if it has children, if an image or a running unpack needs it or it is
    ///   mounted, `.unavailable` while it is being made, `.system`.
    package func remove(_ name: String) throws(StoreFailure) {
        let id = try write(.durable) { database in
            let row = try self.row(name, database)
            try self.refuseUnfinished(row)
            try self.refuseNeeded(row, database)
            try self.refuseMounted(row.id, "cannot remove '\(name)'")
            try database.execute(sql: "DELETE FROM snapshot WHERE id = ?", arguments: [row.id])
            return row.id
        }
        try deleteDirectories(of: [id])
    }

    private func refuseNeeded(_ row: SnapshotRow, _ database: Database) throws {
        let reasons = [
            (
                "SELECT 1 FROM snapshot WHERE parent = ?", "other snapshots are based on it",
                "remove those first: 'unpack snapshot tree' shows them"
            ),
            (
                "SELECT 1 FROM image WHERE top = ?", "an image needs it",
                "remove the image with 'unpack rm'"
            ),
            ("SELECT 1 FROM pin WHERE snapshot = ?", "a running unpack needs it", "wait for that"),
        ]
        for (query, reason, hint) in reasons {
            if try Bool.fetchOne(database, sql: query, arguments: [row.id]) != nil {
                throw StoreFailure(.failedPrecondition, "cannot remove '\(row.name)': \(reason)", hint: hint)
            }
        }
    }

    /// Gives up a run's snapshot.
    package func abandon(_ active: consuming ActiveSnapshot) throws(StoreFailure) {
        let id = active.id
        _ = consume active
        try abandon(id)
    }

    func discard(_ id: Int64) { try? abandon(id) }

    /// The directory goes first: where the disk is full, this makes room for the row's removal. A crash between the two
    /// leaves a row of an ended run. One that is committed already stays.
    private func abandon(_ id: Int64) throws(StoreFailure) {
        let isRuns = try read { database in
            try Bool.fetchOne(
                database, sql: "SELECT 1 FROM snapshot WHERE id = ? AND run IS NOT NULL", arguments: [id])
                != nil
        }
        guard isRuns else { return }
        try deleteDirectories(of: [id])
        try write { try $0.execute(sql: "DELETE FROM snapshot WHERE id = ?", arguments: [id]) }
    }

    /// Renames directories aside, all of them first, and then deletes them.
    ///
    /// Of what is finished, only after a durable transaction has removed the rows: else a power cut may bring a row back,
    /// and not its directory.
    func deleteDirectories(of ids: [Int64]) throws(StoreFailure) {
        try attempting("cannot remove a snapshot's directory") { () throws(SyscallFailure) in
            var aside = [FileName]()
            for id in ids { if let name = try setAside(FileName(id: id)) { aside.append(name) } }
            for name in aside { try backend.delete(name) }
        }
    }
}
