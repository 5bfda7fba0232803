internal import ArgumentParser
internal import Kernel
internal import Mounts
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// Performs the mounts that the other commands print.
struct MountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount", abstract: "Mount an image, a chain or a snapshot on a directory.",
        discussion: """
            Uses the kernel's mount API, which takes as many layers as overlay does (500), and checks the number of layers \
            that are mounted. WHAT is a chain ID or a snapshot's key in the store, or an image, which is unpacked first.
            """)

    @Argument(
        help: ArgumentHelp(
            "A chain ID, a snapshot's key, or an image (DIR, DIR:REF, DIR@sha256:…).", valueName: "what"),
        completion: .file())
    var what: String

    @Argument(
        help: ArgumentHelp("The directory to mount it on. It must exist.", valueName: "dir"),
        completion: .directory)
    var directory: String

    @OptionGroup var selection: SelectionOptions
    @OptionGroup var store: StoreOptions

    @Option(
        name: .customLong("rw"),
        help: ArgumentHelp(
            "Create or reuse the writable snapshot with this key on top of an image.", valueName: "key"))
    var writableKey: String?

    @OptionGroup var limits: LimitOptions
    @OptionGroup var durability: DurabilityOptions
    @OptionGroup var progressOptions: ProgressOptions

    func run() throws {
        try refuseMountOutsideNamespace()
        let target = try attempt { try FilePath(directory).resolved() }
        let mounts = try describe(try store.rootPath())
        // Resolved again, because the store may have been created only now.
        let root = try store.rootPath()
        try attempt {
            try MountPerformer.perform(
                mounts, form: .ofThisKernel, folder: root.appending(try store.snapshotterName), on: target)
        }
    }

    private func describe(_ root: FilePath) throws -> [Mount] {
        if let chain = try? ChainID(Digest(parsing: what)) {
            try refuseImageOptions("a chain")
            let store = try openStore(root, snapshotter: try store.snapshotterName)
            return try attempt {
                guard let snapshot = try store.verified(chain) else {
                    throw UnpackError(
                        .notFound, "the store \(escaped(root)) does not hold the chain \(chain)",
                        hint: "unpack the image again, or name its store with --root DIR")
                }
                return try store.readOnlyMounts(of: snapshot.name)
            }
        }
        if try attempt({ try root.appending("metadata.db").exists() }) {
            let store = try openStore(root, snapshotter: try store.snapshotterName)
            if let found = try attempt({ try store.find(what) }) {
                try refuseImageOptions("a snapshot")
                return try attempt {
                    try found.kind == .committed ? store.readOnlyMounts(of: what) : store.mounts(of: what)
                }
            }
        }
        return try UnpackJob(
            image: what, selection: selection, store: store, limits: limits, durability: durability,
            progressOptions: progressOptions, writableKey: writableKey
        ).run().mounts
    }
}

extension MountCommand {
    /// A chain or a snapshot of the store is not an image, and it is not this command that makes it writable.
    private func refuseImageOptions(_ what: String) throws {
        let isGiven = [selection.ref, selection.digest, selection.platform, writableKey].contains {
            $0 != nil
        }
        guard isGiven else { return }
        throw UnpackError(
            .usage, "--ref, --digest, --platform and --rw go with an image, and this is \(what)")
    }
}
