internal import Kernel
package import OCI
package import SystemPackage

/// What needs layers of an image, beside that image itself.
package enum Keeper: Sendable, Equatable {
    case image(ImageRecord)
    /// A snapshot of a user; it may belong to a bundle.
    case snapshot(SnapshotInfo)
    /// A service: the name of the snapshotter in its configuration.
    case service(String)
    /// A running unpack.
    case run
    /// A mount of a layer.
    case mount(FilePath)
}

extension SnapshotStore {
    /// Lists what needs any of these layers.
    package func keepers(of layers: [ChainID]) throws(StoreFailure) -> [Keeper] {
        let mounted = try attempting("cannot read the mount table") {
            () throws(SyscallFailure) -> [Int64: FilePath] in
            try self.mounted()
        }
        return try database.read { transaction in
            let ids = Set(try transaction.snapshots(basedOn: layers))
            let rows = try transaction.snapshots().filter { ids.contains($0.id) }
            let chains = Set(rows.compactMap(\.verifiedChain))
            let images = try transaction.images().filter { chains.contains($0.topChain) }
            let owned = rows.filter { $0.run == nil && $0.owner != .images }
            let users = try owned.filter { $0.owner == .user }.map { try transaction.info($0) }
            let services = Set(owned.map(\.owner)).union(try transaction.servicesUsing(ids)).subtracting([
                .user
            ])
            let isRunning = try rows.contains { $0.run != nil } || transaction.arePinned(ids)
            // The snapshot of a user is named, and its mount with it.
            let layerMounts = rows.filter { $0.owner == .images }.compactMap { mounted[$0.id] }
            var keepers = images.map(Keeper.image)
            keepers += users.map(Keeper.snapshot)
            keepers += services.map(\.rawValue).sorted().map(Keeper.service)
            if isRunning { keepers.append(.run) }
            keepers += Set(layerMounts).sorted { $0.string < $1.string }.map(Keeper.mount)
            return keepers
        }
    }
}
