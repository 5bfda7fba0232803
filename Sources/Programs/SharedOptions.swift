package import ArgumentParser
package import SystemPackage
package import Unpacking

/// Where the store is.
package struct RootOptions: ParsableArguments {
    @Option(help: Settings.root.help("The store's directory.", valueName: "dir"), completion: .directory)
    package var root: String?

    package init() {}

    /// Absolute: it stands in mount lines that run elsewhere.
    package func rootPath() throws -> FilePath { try absoluteName(Settings.root.resolve(root), of: "--root") }
}

/// How durable it is.
package struct DurabilityOptions: ParsableArguments {
    @Option(
        name: .customLong("sync"),
        help: Settings.sync.help(
            "fs: on the disk before the image is recorded. none: only until the machine stops.",
            valueName: "fs|none"),
        completion: .list(UnpackRequest.Durability.allCases.map(\.rawValue)))
    package var syncText: String?

    package init() {}

    package var sync: UnpackRequest.Durability { get throws { try Settings.sync.resolve(syncText) } }
}
