internal import OCI

/// What services own, and the layers of images that they have adopted.
extension SnapshotStore {
    /// A finished snapshot of one owner.
    func find(_ name: String, of owner: Owner) throws(StoreFailure) -> SnapshotInfo? {
        try database.read { transaction in
            guard let row = try transaction.snapshot(named: name), row.owner == owner, row.run == nil else {
                return nil
            }
            return try transaction.info(row)
        }
    }

    func findAdopted(_ name: String, by service: Owner) throws(StoreFailure) -> SnapshotInfo? {
        try database.read { transaction in
            guard let row = try transaction.snapshot(named: name),
                try transaction.isAdopted(row.id, by: service)
            else { return nil }
            return try transaction.info(row)
        }
    }

    /// The snapshots that a service owns or has adopted, without unfinished ones, oldest first.
    func visible(to service: Owner) throws(StoreFailure) -> [SnapshotInfo] {
        try database.read { try $0.infos($0.snapshots(visibleTo: service)) }
    }

    /// The committed snapshots of an owner that are not known to be on the disk: of this boot, and of others.
    func pendingSnapshots(of owner: Owner) throws(StoreFailure) -> (new: [String], suspect: [String]) {
        try database.read { transaction in
            let all = try transaction.pendingSnapshots(of: owner)
            let boot = transaction.scope.boot
            return (
                all.filter { $0.boot == boot }.map(\.name), all.filter { $0.boot != boot }.map(\.name)
            )
        }
    }

    /// Adopts the snapshot that is verified to hold a chain, after making it durable: a service's clients refer to it beyond
    /// this boot.
    ///
    /// - Parameter parent: the ID of the snapshot that it must be based on.
    /// - Returns: nil if there is no such snapshot, and if the service has a snapshot of that name: of two with one name,
    ///   clients could get the one that is not verified.
    func adopt(_ chain: ChainID, on parent: Int64?, for service: Owner) throws(StoreFailure) -> SnapshotInfo?
    {
        func find(_ transaction: StoreTransaction) throws -> SnapshotRow? {
            let row = try transaction.snapshot(holding: chain)
            return row?.parent?.id == parent ? row : nil
        }
        guard let row = try database.read(find) else { return nil }
        if row.durability != .durable { try completeCommit(of: row.name) }
        return try database.write(.durable) { transaction in
            guard let row = try find(transaction), row.durability == .durable,
                try transaction.snapshot(named: "\(service.rawValue):\(row.name)") == nil
            else { return nil }
            try transaction.adopt(row.id, for: service)
            return try transaction.info(row)
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
