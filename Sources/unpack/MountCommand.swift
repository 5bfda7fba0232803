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
            that are mounted. WHAT is an image on the disk, which is unpacked first, or one in the store: an image by its name or \
            digest, a snapshot by its key or chain ID. The beginning of a digest is enough. A path that exists takes \
            precedence; 'store:NAME' is always in the store.
            """)

    @Argument(
        help: ArgumentHelp(
            "An image (DIR, DIR:REF, DIR@sha256:…), or an image or snapshot in the store.",
            valueName: "what"),
        completion: .file())
    var what: String

    @Argument(
        help: ArgumentHelp("The directory to mount it on. It must exist.", valueName: "dir"),
        completion: .directory)
    var directory: String

    @OptionGroup(title: "Which image") var selection: SelectionOptions
    @OptionGroup(title: "Store") var store: StoreOptions

    @Option(
        name: .customLong("rw"),
        help: ArgumentHelp(
            "Create or reuse the writable snapshot with this key on top of an image.", valueName: "key"))
    var writableKey: String?

    @Flag(name: .customLong("ro"), help: "Mount read-only, which is the default.")
    var readOnly = false

    @OptionGroup(title: "Limits") var limits: LimitOptions
    @OptionGroup(title: "Store") var durability: DurabilityOptions
    @OptionGroup(title: "Messages") var progressOptions: ProgressOptions

    func run() throws {
        try refuse(readOnly: readOnly, writableKey)
        try refuseMountOutsideNamespace()
        let target = try attempt { try FilePath(directory).resolved() }
        let mounts = try describe()
        // Resolved after that, because the store may have been created only now.
        let root = try store.rootPath()
        try attempt {
            try MountPerformer.perform(
                mounts, form: .ofThisKernel, folder: root.appending(try store.snapshotterName), on: target)
        }
    }

    private func describe() throws -> [Mount] {
        switch try store.storedIfMeant(what) {
        case (.snapshot(let snapshot), let store)?:
            let options = [selection.ref, selection.digest, selection.platform, writableKey]
            guard options.allSatisfy({ $0 == nil }) else {
                throw UnpackError(
                    .usage, "--ref, --digest, --platform and --rw go with an image, and this is a snapshot")
            }
            return try attempt {
                try snapshot.kind == .committed
                    ? store.readOnlyMounts(of: snapshot.name) : store.mounts(of: snapshot.name)
            }
        case (.image(let image), let store)?:
            try selection.refuseForStoredImage()
            return try ImageMounts(store: store, writableKey: writableKey, bundle: nil, check: {})
                .result(of: image).mounts
        case nil:
            let job = UnpackJob(
                image: what, selection: selection, store: store, limits: limits, durability: durability,
                progressOptions: progressOptions, writableKey: writableKey)
            return try store.opening(what) { try job.run().mounts }
        }
    }
}
