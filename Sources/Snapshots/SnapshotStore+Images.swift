internal import GRDB
internal import Kernel
internal import OCI

/// Images that were unpacked, each of which keeps its chain.
extension SnapshotStore {
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
            return try self.unsettled(top.id, database)
        }
        let record = try images().first { $0.manifest == image.manifest }
        if sync { try settle(ids) }
        guard record != image else { return }
        try write(.durable) { try self.record(image, $0) }
    }

    /// Does for a committed snapshot what a commit that had to be fast has left: it is measured and, with `isSynced`, it
    /// and all below it are on the disk when this returns.
    package func settle(_ name: String, isSynced: Bool = true) throws(StoreFailure) {
        guard try usageIfPresent(of: name) != nil, isSynced else { return }
        let ids = try read { database in
            guard let row = try SnapshotRow.named(name, self.snapshotter, database) else { return [Int64]() }
            return try self.unsettled(row.id, database)
        }
        try settle(ids)
    }

    /// Of a snapshot and all below it, what this boot has committed and not synced.
    private func unsettled(_ id: Int64, _ database: Database) throws -> [Int64] {
        let ids = try SnapshotRow.ancestry(of: id, database)
        return try Int64.fetchAll(
            database, sql: "SELECT id FROM snapshot WHERE boot = ? AND id IN (\(Self.list(ids)))",
            arguments: [boot])
    }

    private func settle(_ ids: [Int64]) throws(StoreFailure) {
        guard !ids.isEmpty else { return }
        try syncFileSystem()
        try write(.durable) { database in
            try database.execute(sql: "UPDATE snapshot SET boot = NULL WHERE id IN (\(Self.list(ids)))")
        }
    }

    /// Whether an image is recorded just so, with its whole chain; with `synced`, on the disk.
    package func has(_ image: ImageRecord, synced: Bool) throws(StoreFailure) -> Bool {
        guard try images().contains(image) else { return false }
        return try read { database in
            let top = try SnapshotRow.holding(image.topChain, self.snapshotter, boot: self.boot, database)
            return top.map { !synced || $0.boot == nil } ?? false
        }
    }

    package func syncFileSystem() throws(StoreFailure) {
        try attempting("cannot write the store to disk") { () throws(SyscallFailure) in
            try rootDirectory.file.syncFileSystem()
        }
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

    /// Forgets an image, and removes those snapshots of its chain that nothing else needs.
    ///
    /// - Parameter deletion: how much of their trees is gone when this returns.
    /// - Returns: what was removed, topmost first.
    /// - Throws: `.notFound`, `.system`.
    package func remove(
        _ image: ImageRecord, _ deletion: Deletion = .whole
    ) throws(StoreFailure) -> [Removal] {
        let removals = try write(.durable) { database in
            guard
                let row = try Row.fetchOne(
                    database, sql: "SELECT id, top FROM image WHERE snapshotter = ? AND manifest = ?",
                    arguments: [self.snapshotter, image.manifest.description])
            else {
                throw StoreFailure(.notFound, "there is no image \(image.manifest) in the store")
            }
            try database.execute(sql: "DELETE FROM image WHERE id = ?", arguments: [row["id"] as Int64])
            let chain = try SnapshotRow.ancestry(of: row["top"], database)
            let removals = try self.unneeded(database).filter { chain.contains($0.snapshot.id) }
            try self.deleteRows(removals.map(\.snapshot.id), database)
            return removals
        }
        try deleteDirectories(of: removals.map(\.snapshot.id), deletion)
        return removals
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
