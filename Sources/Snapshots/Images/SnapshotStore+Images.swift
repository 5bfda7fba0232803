internal import Kernel
package import OCI

/// Records of unpacked images. Each keeps its chain of snapshots from being removed.
extension SnapshotStore {
    /// Records an image whose chain is complete.
    ///
    /// The order is a guarantee: first the file system is synced, then the rows of the chain are marked durable, and
    /// only then the image is recorded.
    ///
    /// An image that is recorded already gets the names that it does not have yet.
    ///
    /// - Parameter sync: whether to make the chain durable before.
    /// - Throws: `.notFound` if the chain is not in the store, `.system`, `.busy`.
    package func record(
        _ image: ImageRecord, _ documents: ImageRecord.Documents?, sync: Bool
    ) throws(StoreFailure) {
        let (pending, isRecorded) = try database.read { transaction in
            guard let top = try transaction.snapshot(holding: image.topChain) else {
                throw Self.missing(image.topChain)
            }
            let pending = try transaction.pending(among: transaction.ancestry(of: top.id))
            return (pending, try Self.includes(image, transaction))
        }
        if sync { try makeDurable(pending) }
        if isRecorded { return noteUse(of: image.manifest) }
        try database.write(.durable) { try self.insert(image, documents, $0) }
    }

    /// Inserts a record, with the names that an earlier one of the same image has.
    private func insert(
        _ image: ImageRecord, _ documents: ImageRecord.Documents?, _ transaction: StoreTransaction
    ) throws {
        let recorded = try transaction.images().first { $0.manifest == image.manifest }
        let merged = ImageRecord(
            names: Array(Set(image.names).union(recorded?.names ?? [])), manifest: image.manifest,
            mediaType: image.mediaType, platform: image.platform, topChain: image.topChain,
            layers: image.layers, created: recorded?.created)
        guard try transaction.insert(merged, documents, created: clock()) else {
            throw Self.missing(image.topChain)
        }
    }

    /// Whether an image is recorded with its names and its documents.
    private static func includes(_ image: ImageRecord, _ transaction: StoreTransaction) throws -> Bool {
        guard try transaction.images().contains(where: { $0.includes(image) }) else { return false }
        return try transaction.documents(of: image.manifest) != nil
    }

    /// Records that an image is used now, unless it was used in the last minute: many processes that use one image do
    /// not wait for each other. Best effort, because the store may be read-only.
    package func noteUse(of manifest: Digest) {
        let now = clock()
        let recorded = try? images().first { $0.manifest == manifest }
        guard let used = recorded?.used, now - used > Self.usePrecision || now < used else { return }
        try? database.write { try $0.setUsed(now, of: manifest) }
    }

    /// In nanoseconds.
    private static let usePrecision: SnapshotInfo.Date = 60_000_000_000

    static func missing(_ chain: ChainID) -> StoreFailure {
        StoreFailure(.notFound, "the chain \(chain) is gone from the store")
    }

    /// Whether this image is recorded under its names, with its whole chain; with `synced`, also whether the chain is
    /// durable.
    package func has(_ image: ImageRecord, synced: Bool) throws(StoreFailure) -> Bool {
        try database.read { transaction in
            guard try Self.includes(image, transaction),
                let top = try transaction.snapshot(holding: image.topChain)
            else { return false }
            return !synced || top.durability == .durable
        }
    }

    /// The images of this snapshotter, oldest first.
    package func images() throws(StoreFailure) -> [ImageRecord] { try database.read { try $0.images() } }

    /// The documents of an image; nil if an earlier version has recorded it without them.
    package func documents(of manifest: Digest) throws(StoreFailure) -> ImageRecord.Documents? {
        try database.read { try $0.documents(of: manifest) }
    }

    /// Removes a name of an image, which stays, because it has others.
    ///
    /// - Throws: `.notFound`.
    package func removeName(_ name: String, of manifest: Digest) throws(StoreFailure) {
        try database.write(.durable) { transaction in
            guard try transaction.deleteName(name, of: manifest) else {
                throw StoreFailure(.notFound, "the image \(manifest) is not called '\(escaped(name.utf8))'")
            }
        }
    }

    /// Removes the record of an image with all its names, and the snapshots of its chain that nothing else needs.
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
