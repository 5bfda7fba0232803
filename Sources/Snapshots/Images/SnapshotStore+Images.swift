internal import Kernel
internal import OCI

/// Records of unpacked images. Each keeps its chain of snapshots from being removed.
extension SnapshotStore {
    /// Records an image whose chain is complete.
    ///
    /// The order is a guarantee: first the file system is synced, then the rows of the chain are marked durable, and
    /// only then the image is recorded.
    ///
    /// - Parameter sync: whether to make the chain durable before.
    /// - Throws: `.notFound` if the chain is not in the store, `.system`, `.busy`.
    package func record(_ image: ImageRecord, sync: Bool) throws(StoreFailure) {
        let (pending, recorded) = try database.read { transaction in
            guard let top = try transaction.snapshot(holding: image.topChain) else {
                throw Self.missing(image.topChain)
            }
            let pending = try transaction.pending(among: transaction.ancestry(of: top.id))
            return (pending, try transaction.images().first { $0.manifest == image.manifest })
        }
        if sync { try makeDurable(pending) }
        guard recorded != image else { return }
        try database.write(.durable) { try self.insert(image, $0) }
    }

    private func insert(_ image: ImageRecord, _ transaction: StoreTransaction) throws {
        guard try transaction.insert(image, created: clock()) else { throw Self.missing(image.topChain) }
    }

    static func missing(_ chain: ChainID) -> StoreFailure {
        StoreFailure(.notFound, "the chain \(chain) is gone from the store")
    }

    /// Whether exactly this image is recorded, with its whole chain; with `synced`, also whether the chain is durable.
    package func has(_ image: ImageRecord, synced: Bool) throws(StoreFailure) -> Bool {
        try database.read { transaction in
            guard try transaction.images().contains(image),
                let top = try transaction.snapshot(holding: image.topChain)
            else { return false }
            return !synced || top.durability == .durable
        }
    }

    /// The images of this snapshotter, oldest first.
    package func images() throws(StoreFailure) -> [ImageRecord] { try database.read { try $0.images() } }

    /// Removes the record of an image, and the snapshots of its chain that nothing else needs.
    ///
    /// - Parameter deletion: how much of their trees is deleted when this returns.
    /// - Returns: the removed snapshots, topmost first.
    /// - Throws: `.notFound`, `.system`.
    package func remove(
        _ image: ImageRecord, _ deletion: Deletion = .complete
    ) throws(StoreFailure) -> [Removal] {
        let removals = try database.write(.durable) { transaction in
            guard let top = try transaction.deleteImage(image.manifest) else {
                throw StoreFailure(.notFound, "there is no image \(image.manifest) in the store")
            }
            let chain = Set(try transaction.ancestry(of: top))
            let removals = try self.unneeded(transaction).filter { chain.contains($0.snapshot.id) }
            try transaction.deleteLeaves(removals.map(\.snapshot.id))
            return removals
        }
        try trash.delete(directoriesOf: removals.map(\.snapshot.id), deletion)
        return removals
    }
}
