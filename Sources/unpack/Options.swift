internal import ArgumentParser
internal import FoundationEssentials
internal import Kernel
internal import Mounts
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// The help of IMAGE.
let imageHelp = ArgumentHelp(
    """
    An OCI image layout (a directory or a tar) or an archive of `docker save`, uncompressed or compressed with gzip or \
    zstd; - is stdin. PATH, PATH:REF, PATH@sha256:… or PATH@NUMBER, also with skopeo's prefixes oci:, oci-archive: and \
    docker-archive:.
    """)

/// The options that select an image of a layout.
struct SelectionOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The image's reference in the layout.", valueName: "name"))
    var ref: String?

    @Option(
        help: ArgumentHelp("The digest of a manifest, or of an index that holds it.", valueName: "sha256:…"))
    var digest: String?

    @Option(
        help: ArgumentHelp(
            "The platform; this machine's by default. The OS may have a version and features: 'linux(+erofs)/amd64'.",
            valueName: "os/arch[/variant]"))
    var platform: String?

    @Option(
        help: ArgumentHelp(
            "The longest time for which a stream may send nothing, e.g. 10m; by default any.",
            valueName: "time"))
    var timeout: String?

    /// - Throws: `.usage` if an option is given: they select one of several images of a layout.
    func refuseForStoredImage() throws {
        guard ref != nil || digest != nil || platform != nil else { return }
        throw UnpackError(
            .usage,
            "--ref, --digest and --platform go with an image on the disk, and this one is in the store")
    }

    /// Combines IMAGE and the options.
    ///
    /// - Throws: `.usage`.
    func choice(_ image: String) throws -> ImageChoice {
        let silence = try timeout.map { try TimeSpan($0, of: "--timeout").nanoseconds }
        let choice = try ImageChoice(
            image, reference: ref, digest: digest, platform: platform, longestSilence: silence)
        guard !choice.isPresent else { return choice }
        let unknown = UnknownName(image)
        if let error = unknown.command ?? unknown.registryImage { throw error }
        return choice
    }

    /// Opens the image that IMAGE and the options select.
    func open(_ image: String) throws -> OpenedImage { try OpenedImage(try choice(image)) }
}

/// The options that select a store and its snapshotter.
struct StoreOptions: ParsableArguments {
    @Option(
        help: Settings.snapshotter.help(
            "The snapshotter that stores the layers: overlayfs, erofs, native, btrfs, loop, devmapper or zfs.",
            valueName: "name"),
        completion: .list(SnapshotStore.supported))
    var snapshotter: String?

    @OptionGroup(title: "Store") var rootOptions: RootOptions
    @OptionGroup(title: "Store") var pool: PoolOptions

    var snapshotterName: String { get throws { try Settings.snapshotter.resolve(snapshotter) } }

    func rootPath() throws -> FilePath { try rootOptions.rootPath() }

    func backendSettings() throws -> BackendSettings { try pool.settings(for: snapshotterName) }

    func open() throws -> SnapshotStore {
        try openStore(rootPath(), snapshotter: snapshotterName, backendSettings())
    }

    /// Opens the store, and never creates it.
    ///
    /// - Throws: `.notFound` if there is no store.
    func openExisting() throws -> SnapshotStore {
        guard let store = try openIfExisting() else {
            throw UnpackError(
                .notFound, "there is no store in \(escaped(try rootPath()))",
                hint: "unpack an image first, or name another store with --root DIR")
        }
        return store
    }

    /// Opens the store, and never creates it; nil if there is none.
    func openIfExisting() throws -> SnapshotStore? {
        let root = try rootPath()
        return try attempt({ try root.appending("metadata.db").exists() }) ? try open() : nil
    }

    /// The snapshots that match the filters; empty if there is no store.
    func snapshots(_ filters: [SnapshotFilter]) throws -> [SnapshotInfo] {
        var all = [SnapshotInfo]()
        try attempt { try openIfExisting()?.walk(filters) { all.append($0) } }
        return all
    }

    /// The `unpack mount` command for a snapshot of this store.
    func performedMount(of key: String) throws -> PerformedMount {
        // By name if the user ran it through PATH, else by its absolute path.
        var program = "unpack"
        if Process.arguments.first?.contains(UInt8(ascii: "/")) == true, let path = Process.executablePath() {
            program = path.string
        }
        return PerformedMount(
            program: program, snapshotter: try snapshotterName, root: try rootPath(), key: key)
    }
}

/// The command `unpack mount`, for mounts that mount(8) cannot perform.
struct PerformedMount {
    let program: String
    let snapshotter: String
    let root: FilePath
    let key: String

    /// - Throws: `.notPlain` for a part that a shell would interpret: clients of a service can choose any key.
    var words: [ShellWord] {
        get throws(MountLine.Failure) {
            let named = snapshotter == Settings.defaultSnapshotter ? nil : try ShellWord(plain: snapshotter)
            return [try ShellWord(plain: program), "mount"] + (named.map { ["--snapshotter", $0] } ?? [])
                + [
                    "--root", try ShellWord(plain: root.string),
                    try ShellWord(plain: StoreOptions.namePrefix + key),
                ]
        }
    }
}

/// The limits of an image, and the number of layers in parallel.
struct LimitOptions: ParsableArguments {
    @Option(
        name: [.customShort("j"), .long],
        help: Settings.jobs.help(
            "Layers that are read and applied in parallel. The result does not depend on it.", valueName: "n")
    )
    var jobs: String?

    @Option(
        help: Settings.maxBytes.help(
            "The most bytes that the image's files may have; holes do not count.", valueName: "size"))
    var maxBytes: String?

    @Option(
        help: Settings.maxEntries.help("The most entries that the image's layers may have.", valueName: "n"))
    var maxEntries: String?

    @Option(
        help: Settings.maxRatio.help(
            "The most times its compressed size that the image may unpack to.", valueName: "n"))
    var maxRatio: String?

    func limits() throws -> UnpackRequest.Limits {
        UnpackRequest.Limits(
            bytes: try Settings.maxBytes.resolve(maxBytes),
            entries: try Settings.maxEntries.resolve(maxEntries),
            ratio: try Settings.maxRatio.resolve(maxRatio))
    }

    func jobCount() throws -> Int { try Settings.jobs.resolve(jobs) }
}
