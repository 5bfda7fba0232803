internal import OCI

/// What services own, and the layers of images that they have adopted.
extension SnapshotStore {
    /// The snapshot that a service's clients see under a key; nil if they see none.
    func find(_ key: ServiceKey) throws(StoreFailure) -> SnapshotInfo? {
        try database.read { transaction in try transaction.snapshot(key).map(transaction.info) }
    }

    /// The snapshots that a service owns or has adopted, without unfinished ones, oldest first.
    func visible(to service: Owner) throws(StoreFailure) -> [SnapshotInfo] {
        try database.read { try $0.infos($0.snapshots(visibleTo: service)) }
    }

    /// The committed snapshots of an owner that are not known to be on the disk: of this boot, and of other boots.
    func pendingSnapshots(of owner: Owner) throws(StoreFailure) -> (new: [String], suspect: [String]) {
        try database.read { transaction in
            let all = try transaction.pendingSnapshots(of: owner)
            let boot = transaction.scope.boot
            return (
                all.filter { $0.boot == boot }.map(\.name), all.filter { $0.boot != boot }.map(\.name)
            )
        }
    }

    /// Adopts a layer, after making it durable: a service's clients refer to it beyond this boot.
    ///
    /// - Returns: false if the layer cannot be adopted any more.
    func adopt(_ layer: AdoptableLayer, for service: Owner) throws(StoreFailure) -> Bool {
        let row = layer.row
        var usage: SnapshotUsage?
        var synced = SyncedSnapshots()
        if !layer.pending.isEmpty {
            if row.usage == nil {
                usage = try? measure(row.id, isCommitted: true, on: row.parent?.id, row.name)
            }
            synced = try sync(layer.pending)
        }
        return try database.write(.durable, caller: "adopt") { transaction in
            let present = try transaction.adoptable(layer.chain, on: row.parent?.id, for: service)
            guard present?.row.id == row.id else { return false }
            try transaction.markDurable(synced)
            if let usage { try transaction.setUsage(usage, of: row.id) }
            try transaction.adopt(row.id, for: service)
            return true
        }
    }

    /// Ends an adoption. The snapshot is removed if nothing else needs it.
    ///
    /// - Throws: `.notFound`, `.failedPrecondition` while the service has snapshots on it, `.system`.
    func endAdoption(of name: String, by service: Owner, _ deletion: Deletion) throws(StoreFailure) {
        let ids = try database.write(.durable) { transaction in
            let row = try transaction.existing(name)
            if try transaction.hasChild(row.id, visibleTo: service) {
                throw StoreFailure(
                    .failedPrecondition, "cannot remove '\(name)': other snapshots are based on it")
            }
            guard try transaction.endAdoption(of: row.id, by: service) else {
                throw StoreFailure(.notFound, "there is no snapshot '\(name)'")
            }
            let unneeded = try self.unneeded(transaction).map(\.snapshot.id).filter { $0 == row.id }
            try transaction.deleteLeaves(unneeded)
            return unneeded
        }
        try trash.delete(directoriesOf: ids, deletion)
    }
}

/// A verified layer that a service can adopt.
struct AdoptableLayer {
    let chain: ChainID
    let row: SnapshotRow
    /// The IDs of this snapshot and of those below it that are not known to be on the disk.
    let pending: [Int64]
}

extension StoreTransaction {
    /// The snapshot that is verified to hold a chain, if a service may adopt it.
    ///
    /// - Parameter parent: the ID of the snapshot that it must be based on.
    /// - Returns: nil if there is no such snapshot, and if the service has a snapshot of that name: of two with one
    ///   name, clients could get the one that is not verified.
    func adoptable(_ chain: ChainID, on parent: Int64?, for service: Owner) throws -> AdoptableLayer? {
        guard let row = try snapshot(holding: chain), row.parent?.id == parent,
            try snapshot(named: ServiceKey.ownName(row.name, of: service)) == nil
        else { return nil }
        let pending = row.durability == .durable ? [] : try self.pending(among: ancestry(of: row.id))
        return AdoptableLayer(chain: chain, row: row, pending: pending)
    }
}
