package import ArgumentParser
package import Snapshots
package import SystemPackage
package import Unpacking

/// The option for the store's directory.
package struct RootOptions: ParsableArguments {
    @Option(help: Settings.root.help("The store's directory.", valueName: "dir"), completion: .directory)
    package var root: String?

    package init() {}

    /// An absolute path: mount lines contain it, and may be run in another working directory.
    package func rootPath() throws -> FilePath {
        try absoluteNotFollowing(Settings.root.resolve(root), of: "--root")
    }
}

/// The options that only stores of thin devices have.
package struct PoolOptions: ParsableArguments {
    @Option(
        help: Settings.pool.help("The thin pool of a new store of devmapper.", valueName: "name"))
    package var pool: String?

    @Option(
        help: Settings.size.help("The size of each snapshot in a new store of devmapper.", valueName: "size"))
    package var size: String?

    @Option(
        help: Settings.fileSystem.help(
            "The file system of each snapshot in a new store of devmapper.", valueName: "ext4|xfs"),
        completion: .list(BlockFileSystem.allCases.map(\.rawValue)))
    package var filesystem: String?

    package init() {}

    /// - Throws: `.usage` for an option that the snapshotter does not have.
    package func settings(for snapshotter: String) throws -> BackendSettings {
        guard snapshotter == SnapshotStore.thinDevices else {
            guard pool == nil, size == nil, filesystem == nil else {
                throw UnpackError(
                    .usage,
                    "--pool, --size and --filesystem go with --snapshotter \(SnapshotStore.thinDevices)")
            }
            return BackendSettings()
        }
        return BackendSettings(
            pool: try Settings.pool.resolve(pool), size: try Settings.size.resolve(size),
            fileSystem: try Settings.fileSystem.resolve(filesystem))
    }
}

/// The option for the durability of an unpacked image.
package struct DurabilityOptions: ParsableArguments {
    @Option(
        name: .customLong("sync"),
        help: Settings.sync.help(
            "fs: layers reach the disk before the image is recorded. none: they may be lost when the machine stops.",
            valueName: "fs|none"),
        completion: .list(UnpackRequest.Durability.allCases.map(\.rawValue)))
    package var syncText: String?

    package init() {}

    package var sync: UnpackRequest.Durability { get throws { try Settings.sync.resolve(syncText) } }
}
