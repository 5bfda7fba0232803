internal import ArgumentParser
internal import FoundationEssentials
internal import Kernel
internal import Layout
internal import Mounts
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// What IMAGE is, for `--help`.
let imageHelp = ArgumentHelp(
    """
    An OCI image layout, as a directory or a tar, or what `docker save` writes; compressed with gzip or zstd or not; - is \
    stdin. PATH, PATH:REF, PATH@sha256:… or PATH@NUMBER, or as skopeo writes it: oci:, oci-archive: or docker-archive:.
    """)

/// Which image of a layout.
struct SelectionOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The image's reference in the layout.", valueName: "name"))
    var ref: String?

    @Option(
        help: ArgumentHelp("The digest of a manifest, or of an index that holds it.", valueName: "sha256:…"))
    var digest: String?

    @Option(
        help: ArgumentHelp(
            "The platform, if not this machine's. The os may have a version and features: 'linux(+erofs)/amd64'.",
            valueName: "os/arch[/variant]"))
    var platform: String?

    /// What was typed, as one choice.
    ///
    /// - Parameter image: as `ImageArgument` has it.
    func resolve(_ image: String) throws -> (source: ImageSource, selector: Selector) {
        if image.isEmpty { throw UnpackError(.usage, "IMAGE is empty", hint: "name a directory") }
        let argument = try parse(image)
        let digest = try digest.map { text in try usage { try Digest(parsing: text) } }
        if argument.reference != nil, ref != nil {
            throw UnpackError(.usage, "the reference is given twice", hint: "use either IMAGE:REF or --ref")
        }
        if argument.digest != nil, digest != nil {
            throw UnpackError(
                .usage, "the digest is given twice", hint: "use either IMAGE@DIGEST or --digest")
        }
        let selector = Selector(
            reference: argument.reference ?? ref, digest: argument.digest ?? digest,
            position: argument.position,
            platform: try platform.map { text in try usage { try Platform(parsing: text) } })
        return (argument.source, selector)
    }

    private func parse(_ image: String) throws -> ImageArgument {
        do {
            return try ImageArgument(parsing: image) { (try? $0.resolved()) != nil }
        } catch let foreign as ForeignTransport {
            let copy: [ShellWord] = [
                "skopeo", "copy", ShellWord(quoting: foreign.text, orElse: "IMAGE"), "oci:image:latest",
            ]
            throw UnpackError(
                .usage,
                "'\(foreign.name):' is nothing that unpack reads: it takes images that are on this machine's disk",
                hint: "\(copy.command) && unpack image")
        } catch {
            throw UnpackError(.usage, "\(error)")
        }
    }

    private func usage<Value>(_ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch {
            throw UnpackError(.usage, "\(error)")
        }
    }
}

/// Which store.
struct StoreOptions: ParsableArguments {
    @Option(
        help: Settings.snapshotter.help(
            "The snapshotter that keeps the layers: overlayfs, native, btrfs or loop.", valueName: "name"),
        completion: .list(SnapshotStore.supported))
    var snapshotter: String?

    @OptionGroup var place: RootOptions

    var snapshotterName: String { get throws { try Settings.snapshotter.resolve(snapshotter) } }

    func rootPath() throws -> FilePath { try place.rootPath() }

    func open() throws -> SnapshotStore { try openStore(rootPath(), snapshotter: snapshotterName) }

    /// For commands that make nothing: no store is made by looking at it.
    func openExisting() throws -> SnapshotStore {
        guard let store = try openIfExisting() else {
            throw UnpackError(
                .notFound, "there is no store in \(escaped(try rootPath()))",
                hint: "unpack an image first, or name another store with --root DIR")
        }
        return store
    }

    /// Nil where there is none.
    func openIfExisting() throws -> SnapshotStore? {
        let root = try rootPath()
        return try attempt({ try root.appending("metadata.db").exists() }) ? try open() : nil
    }

    /// None where there is no store.
    func snapshots(_ filters: [SnapshotFilter]) throws -> [SnapshotInfo] {
        var all = [SnapshotInfo]()
        try attempt { try openIfExisting()?.walk(filters) { all.append($0) } }
        return all
    }

    /// The command that mounts a snapshot by this program.
    func performedMount(of key: String) throws -> PerformedMount {
        // As the person can run it: by its name where that finds it, else by its place.
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

    /// - Throws: `.notPlain` for a part that a shell would read as something else: a service's clients choose any key.
    var words: [ShellWord] {
        get throws(MountLine.Failure) {
            let named = snapshotter == Settings.defaultSnapshotter ? nil : try ShellWord(plain: snapshotter)
            return [try ShellWord(plain: program), "mount"] + (named.map { ["--snapshotter", $0] } ?? [])
                + ["--root", try ShellWord(plain: root.string), try ShellWord(plain: key)]
        }
    }
}

/// How much an image may take, and how much is done at once.
struct LimitOptions: ParsableArguments {
    @Option(
        help: Settings.jobs.help(
            "Layers that are read and applied at once. The result does not depend on it.", valueName: "n"))
    var jobs: String?

    @Option(
        help: Settings.maxBytes.help(
            "Bytes that the image's files may have; holes do not count.", valueName: "n"))
    var maxBytes: String?

    @Option(
        help: Settings.maxEntries.help("Entries that the image's layers may have.", valueName: "n"))
    var maxEntries: String?

    @Option(
        help: Settings.maxRatio.help(
            "How many times its compressed size the image may unpack to.", valueName: "n"))
    var maxRatio: String?

    func limits() throws -> UnpackRequest.Limits {
        UnpackRequest.Limits(
            bytes: try Settings.maxBytes.resolve(maxBytes),
            entries: try Settings.maxEntries.resolve(maxEntries),
            ratio: try Settings.maxRatio.resolve(maxRatio))
    }

    func jobCount() throws -> Int { try Settings.jobs.resolve(jobs) }
}
