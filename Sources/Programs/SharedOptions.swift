package import ArgumentParser
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
