internal import GRDB
package import Kernel
package import Mounts
package import OCI
package import SystemPackage

/// The snapshots of one ROOT: containerd's contract over a directory and a database. `docs/on-disk.md` tells
/// what is durable when.
///
/// Any number of processes share a ROOT. Ids are handed out, and directories made, inside a write
/// transaction: so a directory that no row names is garbage to whoever holds the write lock.
package final class SnapshotStore: Sendable {
    package let root: FilePath
    package let snapshotter: String

    let database: DatabaseQueue
    let backend: OverlayBackend
    let boot: String
    let clock: @Sendable () -> SnapshotInfo.Date
    private let rootDirectory: Directory
    private let locks: Directory
    let runs: Directory

    /// Opens a store, made if it is not there. Nothing that is there already is changed.
    ///
    /// - Parameters:
    ///   - boot: names the time since the kernel started; what another boot did not sync is not trusted.
    /// - Throws: `.failedPrecondition` for a store of another kind, `.busy`, `.system`.
    package init(
        opening root: FilePath, snapshotter: String, boot: String,
        clock: @escaping @Sendable () -> SnapshotInfo.Date
    ) throws(StoreFailure) {
        self.root = root
        self.snapshotter = snapshotter
        self.boot = boot
        self.clock = clock
        do throws(SyscallFailure) {
            rootDirectory = try Directory.makingAll(root, mode: 0o700)
            runs = try rootDirectory.ensureDirectory("runs")
            locks = try rootDirectory.ensureDirectory("locks")
            let folder = try rootDirectory.ensureDirectory(OverlayBackend.name)
            backend = OverlayBackend(path: root.appending(OverlayBackend.name), folder: folder)
        } catch {
            throw StoreFailure(error, "cannot open the store \(escaped(root))")
        }
        // One process at a time makes or upgrades the database; the lock goes with the file.
        let schema = try Self.lockSchema(locks)
        try Self.refuseForeign(root, folder: backend.folder)
        database = try Self.openDatabase(root)
        try checkKind()
        withExtendedLifetime(schema) {}
    }

    package static let supported = [OverlayBackend.name]

    private static func lockSchema(_ locks: Directory) throws(StoreFailure) -> SchemaLock {
        try attempting("cannot lock the store") { () throws(SyscallFailure) in try SchemaLock(in: locks) }
    }

    /// Without its database a store's directories would all be orphans.
    private static func refuseForeign(_ root: FilePath, folder: Directory) throws(StoreFailure) {
        let isOwn = try attempting("cannot open the store \(escaped(root))") { () throws(SyscallFailure) in
            if try root.appending("metadata.db").exists() { return true }
            return try folder.names().isEmpty
        }
        if !isOwn {
            throw StoreFailure(
                .failedPrecondition,
                "\(escaped(root.appending(OverlayBackend.name))) is not empty, and the store's database is not there",
                hint: "restore metadata.db, or use another store with --root DIR")
        }
    }

    private static func openDatabase(_ root: FilePath) throws(StoreFailure) -> DatabaseQueue {
        var configuration = Configuration()
        configuration.journalMode = .wal
        // Longer than any transaction of ours: whoever waits longer meets a hung process.
        configuration.busyMode = .timeout(10)
        configuration.foreignKeysEnabled = true
        configuration.prepareDatabase { database in
            // What must survive a power cut is written with FULL (`settle`).
            try database.execute(sql: "PRAGMA synchronous = NORMAL")
        }
        let path = root.appending("metadata.db").string
        return try translating {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            let migrator = Schema.migrator
            if try queue.read(migrator.hasBeenSuperseded) {
                throw StoreFailure(
                    .failedPrecondition,
                    "the store \(escaped(root)) was written by a newer version of this program",
                    hint: "use that version, or another store with --root DIR")
            }
            if try !queue.read(migrator.hasCompletedMigrations) { try migrator.migrate(queue) }
            return queue
        }
    }

    /// One ROOT is one mode and one class of extended attributes: recorded when it is made, the same ever
    /// after.
    private func checkKind() throws(StoreFailure) {
        let own = ["mode": "root", "attributes": "trusted"]
        let found = try read { database in
            try Row.fetchAll(database, sql: "SELECT name, value FROM store").reduce(into: [String: String]())
            {
                $0[$1["name"]] = $1["value"]
            }
        }
        for (name, value) in own {
            if let other = found[name], other != value {
                throw StoreFailure(
                    .failedPrecondition,
                    "the store \(escaped(root)) was made with \(name) '\(other)', not '\(value)'",
                    hint: "use another store with --root DIR")
            }
        }
        guard found.isEmpty else { return }
        try write { database in
            for (name, value) in own {
                try database.execute(
                    sql: "INSERT OR IGNORE INTO store VALUES (?, ?)", arguments: [name, value])
            }
        }
    }

    /// How layers can say on this file system that they hide something: tried out.
    ///
    /// - Throws: `.unavailable` with the reason if they cannot, `.system`, `.busy`.
    package func whiteoutForm() throws(StoreFailure) -> WhiteoutForm {
        // In a transaction nobody takes the probe's own directory for an orphan.
        try write { _ in try self.backend.probe() }
    }

    /// Bytes that the store's file system has free, for root.
    package func freeBytes() throws(StoreFailure) -> Int64 {
        try attempting("cannot ask for the free space of \(escaped(root))") { () throws(SyscallFailure) in
            try rootDirectory.file.freeBytes()
        }
    }

    /// Begins to make snapshots, and removes what ended runs have left.
    ///
    /// - Throws: `.system`, `.busy`.
    package func startRun() throws(StoreFailure) -> Run {
        let run = try attempting("cannot begin to write to the store \(escaped(root))") {
            () throws(SyscallFailure) in
            try Run(in: runs)
        }
        try reap(but: run)
        return run
    }

    // MARK: Asking

    /// - Throws: `.notFound`.
    package func stat(_ name: String) throws(StoreFailure) -> SnapshotInfo {
        try read { try self.row(name, $0).info }
    }

    /// As `stat`; nil if there is no such snapshot.
    package func find(_ name: String) throws(StoreFailure) -> SnapshotInfo? {
        try read { try SnapshotRow.named(name, self.snapshotter, $0)?.info }
    }

    /// The snapshot that holds a chain whose every byte was verified, by this program and on a disk that can
    /// be trusted.
    package func verified(_ chain: ChainID) throws(StoreFailure) -> SnapshotInfo? {
        try read { try SnapshotRow.holding(chain, self.snapshotter, boot: self.boot, $0)?.info }
    }

    /// How a snapshot is mounted: an active one writable, a committed one or a view read-only.
    ///
    /// - Throws: `.notFound`.
    package func mount(of name: String) throws(StoreFailure) -> Mount {
        try read { database in
            let row = try self.row(name, database)
            let ids = try SnapshotRow.ancestry(of: row.id, database)
            let isActive = row.kind == SnapshotInfo.Kind.active.rawValue
            return self.backend.mount(
                active: isActive ? row.id : nil, on: isActive ? Array(ids.dropFirst()) : ids)
        }
    }

    /// The directory with a snapshot's own tree, without the layers below.
    package func path(of snapshot: SnapshotInfo) -> FilePath {
        backend.path.appending("\(snapshot.id)").appending("fs")
    }

    /// The directories of a committed snapshot and of all below it, topmost first.
    ///
    /// - Throws: `.notFound`, `.system`.
    package func layers(of name: String) throws(StoreFailure) -> [Directory] {
        let ids = try read { try SnapshotRow.ancestry(of: try self.row(name, $0).id, $0) }
        return try attempting("cannot open the layers of '\(name)'") { () throws(SyscallFailure) in
            var layers = [Directory]()
            for id in ids { layers.append(try backend.tree(of: id)) }
            return layers
        }
    }

    // MARK: Making

    /// Makes a snapshot that can be written to.
    ///
    /// - Parameters:
    ///   - parent: a committed snapshot's name; nil for an empty tree, and for one whose parent `commit` tells.
    ///   - run: whose it is until it is committed; nil for one that stays until somebody removes it.
    /// - Throws: `.notFound` and `.invalidArgument` for the parent, `.alreadyExists`, `.system`.
    package func prepare(
        _ key: String, parent: String?, owner: Owner, run: Run?
    ) throws(StoreFailure) -> ActiveSnapshot {
        // What a user will write to must not look like an orphan after a power cut.
        let transaction: Transaction = run == nil ? .durable : .ordinary
        let made: (id: Int64, directory: Directory) = try write(transaction) { database in
            let parentRow = try parent.map { try self.committed($0, database) }
            if try SnapshotRow.named(key, self.snapshotter, database) != nil {
                throw StoreFailure(.alreadyExists, "there is a snapshot '\(key)' already")
            }
            let now = self.clock()
            try database.execute(
                sql: """
                    INSERT INTO snapshot (snapshotter, name, kind, parent, owner, run, created, updated)
                    VALUES (?, ?, 'active', ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    self.snapshotter, key, parentRow?.id, owner.rawValue, run?.name, now, now,
                ])
            let id = database.lastInsertedRowID
            // Left behind by a transaction that was rolled back.
            try self.setAside(FileName(id: id))
            return (id, try self.backend.make(id, on: parentRow?.id))
        }
        return ActiveSnapshot(id: made.id, key: key, directory: made.directory)
    }

    /// - Throws: `.notFound`, `.invalidArgument` if it is not committed.
    private func committed(_ parent: String, _ database: Database) throws -> SnapshotRow {
        let row = try self.row(parent, database)
        guard row.kind == SnapshotInfo.Kind.committed.rawValue else {
            throw StoreFailure(.invalidArgument, "the parent '\(parent)' is not committed")
        }
        return row
    }

    /// Turns an active snapshot into a committed one under a new name.
    ///
    /// - Parameters:
    ///   - parent: of one that was prepared without (containerd: `WithParent`, rebase); nil leaves it as it is.
    ///   - verifiedChain: the chain that every byte of it was verified to be. Give it only with the proof in
    ///     hand.
    /// - Throws: `.alreadyExists` if the name is taken, `.notFound`, `.invalidArgument` for the parent,
    ///   `.failedPrecondition`, `.system`.
    package func commit(
        _ active: borrowing ActiveSnapshot, as name: String, onto parent: String? = nil,
        labels: [String: String], verifiedChain: ChainID?
    ) throws(StoreFailure) {
        let id = active.id
        let key = active.key
        try write { database in
            let row = try self.row(key, database)
            guard row.kind == SnapshotInfo.Kind.active.rawValue else {
                throw StoreFailure(.failedPrecondition, "the snapshot '\(key)' is not active")
            }
            guard parent == nil || row.parent == nil else {
                throw StoreFailure(.failedPrecondition, "the snapshot '\(key)' has a parent already")
            }
            let parentID = try parent.map { try self.committed($0, database).id } ?? row.parent
            if try SnapshotRow.named(name, self.snapshotter, database) != nil {
                throw StoreFailure(
                    .alreadyExists,
                    "there is a snapshot '\(name)' already, whose content this program did not verify",
                    hint: "use another store with --root DIR")
            }
            try self.backend.seal(id)
            let now = self.clock()
            try database.execute(
                sql: """
                    UPDATE snapshot SET name = ?, kind = 'committed', parent = ?, run = NULL, boot = ?,
                        verified_chain = ?, created = ?, updated = ? WHERE id = ?
                    """,
                arguments: [name, parentID, self.boot, verifiedChain?.description, now, now, id])
            try database.execute(sql: "DELETE FROM label WHERE snapshot = ?", arguments: [id])
            for (label, value) in labels {
                try database.execute(
                    sql: "INSERT INTO label VALUES (?, ?, ?)", arguments: [id, label, value])
            }
        }
    }

    /// Gives up an active snapshot of a run. Its directory goes first: where the disk is full, this makes room for
    /// the row's removal. A crash between the two leaves a row of an ended run.
    package func abandon(_ active: borrowing ActiveSnapshot) throws(StoreFailure) {
        let id = active.id
        try attempting("cannot remove an unfinished snapshot") { () throws(SyscallFailure) in
            if let aside = try setAside(FileName(id: id)) { try backend.folder.removeTree(aside) }
        }
        try write {
            try $0.execute(sql: "DELETE FROM snapshot WHERE id = ? AND kind = 'active'", arguments: [id])
        }
    }

    /// Removes a snapshot that no other one needs.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` if it has children or an image needs it, `.system`.
    package func remove(_ name: String) throws(StoreFailure) {
        let id = try write { database in
            let row = try self.row(name, database)
            let children = try Int.fetchOne(
                database, sql: "SELECT count(*) FROM snapshot WHERE parent = ?", arguments: [row.id])
            if children != 0 {
                throw StoreFailure(
                    .failedPrecondition, "cannot remove '\(name)': other snapshots are based on it")
            }
            let images = try Int.fetchOne(
                database, sql: "SELECT count(*) FROM image WHERE top = ?", arguments: [row.id])
            if images != 0 {
                throw StoreFailure(.failedPrecondition, "cannot remove '\(name)': an image needs it")
            }
            try database.execute(sql: "DELETE FROM snapshot WHERE id = ?", arguments: [row.id])
            return row.id
        }
        try attempting("cannot remove the directory of '\(name)'") { () throws(SyscallFailure) in
            // Renamed first: a crash leaves nothing that looks like a snapshot.
            if let aside = try setAside(FileName(id: id)) { try backend.folder.removeTree(aside) }
        }
    }

    // MARK: Durability

    /// Records an image whose chain is complete; with `sync`, after making it and its chain durable.
    ///
    /// The order is the promise: first the file system is synced, then its rows are trusted beyond this boot,
    /// and only then is there an image.
    package func settle(_ image: ImageRecord, sync: Bool) throws(StoreFailure) {
        let ids: [Int64] = try read { database in
            guard
                let top = try SnapshotRow.holding(image.topChain, self.snapshotter, boot: self.boot, database)
            else {
                throw StoreFailure(.notFound, "the chain \(image.topChain) is gone from the store")
            }
            let ids = try SnapshotRow.ancestry(of: top.id, database)
            return try Int64.fetchAll(
                database,
                sql: "SELECT id FROM snapshot WHERE boot IS NOT NULL AND id IN (\(Self.list(ids)))")
        }
        let record = try images().first { $0.manifest == image.manifest }
        if sync, !ids.isEmpty {
            try attempting("cannot write the store to disk") { () throws(SyscallFailure) in
                try rootDirectory.file.syncFileSystem()
            }
            try write(.durable) { database in
                try database.execute(sql: "UPDATE snapshot SET boot = NULL WHERE id IN (\(Self.list(ids)))")
            }
        }
        guard record != image else { return }
        try write(.durable) { try self.record(image, $0) }
    }

    private static func list(_ ids: [Int64]) -> String { ids.map(String.init).joined(separator: ",") }

    private func record(_ image: ImageRecord, _ database: Database) throws {
        try database.execute(
            sql: "DELETE FROM image WHERE snapshotter = ? AND manifest = ?",
            arguments: [snapshotter, image.manifest.description])
        try database.execute(
            sql: """
                INSERT INTO image (snapshotter, manifest, media_type, reference, platform, top, created)
                SELECT ?, ?, ?, ?, ?, id, ? FROM snapshot WHERE snapshotter = ? AND verified_chain = ?
                """,
            arguments: [
                snapshotter, image.manifest.description, image.mediaType.rawValue, image.reference,
                image.platform.description, clock(), snapshotter, image.topChain.description,
            ])
        guard database.changesCount == 1 else {
            throw StoreFailure(.notFound, "the chain \(image.topChain) is gone from the store")
        }
        let id = database.lastInsertedRowID
        for (position, layer) in image.layers.enumerated() {
            try database.execute(
                sql: "INSERT INTO image_layer VALUES (?, ?, ?, ?, ?, ?)",
                arguments: [
                    id, position, layer.digest.description, layer.diffID.description,
                    layer.chainID.description,
                    layer.size,
                ])
        }
    }

    /// Every image of this snapshotter, oldest first.
    package func images() throws(StoreFailure) -> [ImageRecord] {
        try read { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT image.*, snapshot.verified_chain FROM image JOIN snapshot ON snapshot.id = image.top
                    WHERE image.snapshotter = ? ORDER BY image.id
                    """, arguments: [self.snapshotter]
            ).map { try ImageRecord($0, database) }
        }
    }

    // MARK: Chains between processes

    /// - Returns: nil while another process unpacks the chain.
    package func tryLock(_ chain: ChainID) throws(StoreFailure) -> ChainLock? {
        try attempting("cannot lock a chain") { () throws(SyscallFailure) in
            try ChainLock.tryTake(chain, in: locks)
        }
    }
}

extension ImageRecord {
    fileprivate init(_ row: Row, _ database: Database) throws {
        let layers = try Row.fetchAll(
            database, sql: "SELECT * FROM image_layer WHERE image = ? ORDER BY position",
            arguments: [row["id"] as Int64])
        self.init(
            reference: row["reference"], manifest: try Digest(parsing: row["manifest"]),
            mediaType: MediaType(rawValue: row["media_type"]),
            platform: try Platform(parsing: row["platform"]),
            topChain: ChainID(try Digest(parsing: row["verified_chain"])),
            layers: try layers.map(Layer.init))
    }
}

extension ImageRecord.Layer {
    fileprivate init(_ row: Row) throws {
        digest = try Digest(parsing: row["digest"])
        diffID = DiffID(try Digest(parsing: row["diff_id"]))
        chainID = ChainID(try Digest(parsing: row["chain_id"]))
        size = row["size"]
    }
}
