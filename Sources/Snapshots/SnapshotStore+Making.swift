internal import GRDB
internal import Kernel
package import Mounts
internal import SystemPackage

/// The calls that make snapshots, and change their labels.
///
/// Whatever takes long (copying a tree, measuring one, deleting one) happens outside of transactions; until it is done
/// the row names the run that does it, so that a crash leaves nothing.
extension SnapshotStore {
    /// Makes a snapshot that can be written to.
    ///
    /// - Parameters:
    ///   - parent: a committed snapshot's name; nil for an empty tree.
    ///   - owner: whose it becomes once it is made.
    ///   - isWanted: asked while the parent is copied, and last before the snapshot is there. If it is false, no snapshot is made.
    /// - Returns: how it is mounted.
    /// - Throws: `.notFound` and `.invalidArgument` for the parent, `.alreadyExists`, `.invalidArgument` for a label,
    ///   `.unavailable`, `.system`; of these ECANCELED if it is not wanted.
    @discardableResult
    package func prepare(
        _ key: String, parent: String? = nil, labels: [String: String] = [:], owner: Owner = .user,
        in run: Run, isWanted: () -> Bool = { true }
    ) throws(StoreFailure) -> [Mount] {
        if parent != nil { try refuseReadOnlyStore() }
        try publish(try make(.active, key, parent, labels, owner, run, isWanted), key, isWanted)
        return try mounts(of: key)
    }

    /// Makes a snapshot that nobody can write to, of a committed one or of nothing. Otherwise as `prepare`.
    @discardableResult
    package func view(
        _ key: String, parent: String? = nil, labels: [String: String] = [:], owner: Owner = .user,
        in run: Run, isWanted: () -> Bool = { true }
    ) throws(StoreFailure) -> [Mount] {
        try publish(try make(.view, key, parent, labels, owner, run, isWanted), key, isWanted)
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
            try self.refuseAdopted(key, database)
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
    private func publish(_ id: Int64, _ key: String, _ isWanted: () -> Bool) throws(StoreFailure) {
        do throws(StoreFailure) {
            try attempting("cannot write the snapshot '\(key)' to disk") { () throws(SyscallFailure) in
                try backend.persist(id)
            }
            if !isWanted() {
                throw StoreFailure(
                    SyscallFailure("publish", errno: .canceled), "cannot make the snapshot '\(key)'")
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
    func parent(
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
            let row = try self.row(name, database)
            let updated = try SnapshotLabels.updating(row.storedLabels(database), to: labels, fields: fields)
            try SnapshotRow.setLabels(updated, of: row.id, database)
            try database.execute(
                sql: "UPDATE snapshot SET updated = ? WHERE id = ?", arguments: [self.clock(), row.id])
            return try self.row(name, database).info(database)
        }
    }
}
