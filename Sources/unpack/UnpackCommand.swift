internal import ArgumentParser
internal import Kernel
internal import Mounts
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// `unpack IMAGE`: unpacks an image, and prints how to mount it.
struct UnpackCommand: NamespacedCommand {
    static let hiddenName = "unpack-image"

    static let configuration = CommandConfiguration(
        commandName: hiddenName,
        abstract: "Unpack an OCI image into verified snapshots, and print how to mount it.",
        discussion: """
            Every blob is verified while it is unpacked; each layer becomes a snapshot named by its chain ID. The \
            printed line mounts the root file system, read-only unless --rw is given. `unpack COMMAND --help` describes a \
            command, and `unpack config` the defaults of options in the environment and in \
            \(ConfigurationFile.defaultPath).

            Exit status: 0 done, 64 usage, 65 the image is wrong, 66 not found, 69 not possible here, 70 a bug, \
            74 I/O or no space, 75 the store is busy, 77 not permitted, 130 and 143 interrupted.
            """,
        shouldDisplay: false)

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case mount, shell, json, containerd, fstab, systemd, mstack, path

        /// Whether the output is for a shell or a configuration file, in which a path must be a plain word.
        var isWords: Bool { ![.json, .containerd, .path].contains(self) }

        /// Whether the output always has a mount point in it.
        var needsTarget: Bool { [.fstab, .systemd, .mstack].contains(self) }
    }

    @Argument(help: imageHelp, completion: .file())
    var image: String

    @OptionGroup(title: "Which image") var selection: SelectionOptions
    @OptionGroup(title: "Store") var store: StoreOptions

    @Option(
        name: .customLong("rw"),
        help: ArgumentHelp(
            "Create or reuse the writable snapshot with this key on top of the image.", valueName: "key"))
    var writableKey: String?

    @Flag(name: .customLong("ro"), help: "Mount read-only, which is the default.")
    var readOnly = false

    @Option(
        name: [.customShort("f"), .long],
        help: ArgumentHelp(
            """
            mount (default): one line for a shell. shell: a script, whose argument is the target. json: the complete result. containerd: \
            the mounts as `ctr snapshots prepare --mounts` prints them. fstab: a line of fstab(5). systemd: a mount unit. \
            mstack: a script that creates the directory of systemd.mstack(7) that --target names. path: the layers' \
            directories, topmost first. fstab, systemd and mstack need --target.
            """, valueName: "name"))
    var format: Format?

    @Flag(help: "Print JSON: the same as --format json.")
    var json = false

    @Option(
        help: ArgumentHelp("The mount point to put into the printed line.", valueName: "dir"),
        completion: .directory)
    var target: String?

    @Option(
        help: ArgumentHelp(
            """
            Create an OCI runtime bundle: config.json, and rootfs as the target of the line. The mount is writable, with a \
            snapshot of the bundle's own, unless --rw names another.
            """, valueName: "dir"))
    var bundle: String?

    @Option(
        name: .customLong("annotation-labels"),
        help: Settings.annotationLabels.help(
            """
            Labels of the image that become annotations in the bundle's config.json: those that no known runtime acts on \
            (safe), all, or none.
            """, valueName: "safe|all|none"),
        completion: .list(AnnotationLabels.allCases.map(\.rawValue)))
    var annotationLabels: String?

    @Option(
        name: [.customShort("o"), .long],
        help: ArgumentHelp(
            """
            Unpack without a store: into one plain directory, which must be empty or missing, or to one reproducible tar \
            (FILE.tar, or - for stdout), which needs no root. $SOURCE_DATE_EPOCH is the latest modification time in the tar.
            """, valueName: "dir|file.tar|-"), completion: .file())
    var output: String?

    @OptionGroup(title: "Limits") var limits: LimitOptions
    @OptionGroup(title: "Store") var durability: DurabilityOptions
    @OptionGroup(title: "Messages") var progressOptions: ProgressOptions

    var needsNamespace: Bool {
        if let output, case .tar? = try? OutputDestination(output) { return false }
        return true
    }

    var completionNote: String? {
        if progressOptions.verbosity.quiet { return nil }
        if output != nil {
            return "the files have owners of a user namespace: inspect and remove them inside"
                + " 'unpack run-in-namespace -- sh'"
        }
        guard printedFormat.isWords else { return nil }
        return "the mount works in a user namespace only: run it inside 'unpack run-in-namespace -- sh'"
    }

    private var printedFormat: Format { format ?? (json ? .json : .mount) }

    func run() throws {
        try checkDestinations()
        if let output = try output.map(OutputDestination.init) { return try job(nil).write(to: output) }
        let root = try store.rootPath()
        let bundle = try bundle.map { Bundle(try absoluteNotFollowing($0, of: "--bundle")) }
        // Every argument is checked before any work.
        _ = try Settings.annotationLabels.resolve(annotationLabels)
        let target = try bundle?.rootfs ?? target.map { try absolutePath($0, of: "--target") }
        let format = printedFormat
        if format.isWords { try attempt { try MountLine.check([root] + (target.map { [$0] } ?? [])) } }
        if format == .path { _ = try ResultPrinter.line(root) }
        let openBundle = try bundle?.open()
        let key = writableKey ?? bundle?.key
        // A snapshot with a key of the user's own outlives the bundle.
        let result = try result(key, writableKey == nil ? try openBundle?.directory : nil)
        if let openBundle { try write(openBundle, of: result) }
        try printResult(try ResultPrinter(result, in: store, writableKey: key, target: target).text(format))
    }

    /// Unpacks the image; one that the store has by this name is unpacked already.
    private func result(_ key: String?, _ bundle: BundleDirectory?) throws -> UnpackResult {
        switch try store.storedIfMeant(image) {
        case (.image(let record), let store)?:
            try selection.refuseForStoredImage()
            return try ImageMounts(store: store, writableKey: key, bundle: bundle, check: {}).result(
                of: record)
        case (.snapshot(let snapshot), _)?:
            let name = ShellWord(quoting: snapshot.name, orElse: "KEY").text
            throw UnpackError(
                .usage, "'\(escaped(snapshot.name.utf8))' is a snapshot, not an image",
                hint: "mount it: unpack mount \(name) DIR")
        case nil:
            var job = job(key)
            job.bundle = bundle
            return try store.opening(image) { try job.run() }
        }
    }

    private func write(_ bundle: OpenBundle, of result: UnpackResult) throws {
        let labels = try Settings.annotationLabels.resolve(annotationLabels)
        let isNew = try bundle.write(
            result, root: try store.rootPath(), snapshotter: store.snapshotterName, labels: labels)
        if progressOptions.verbosity.quiet { return }
        if !isNew { return Log.print("the bundle's config.json is kept as it is") }
        let config = result.image.config
        warn(
            "config.json has no annotations of labels that a runtime would act on",
            labels == .safe ? RuntimeConfig.reservedLabels(of: config) : [],
            "--annotation-labels all keeps them")
        warn(
            "config.json has no variables of these entries of Env",
            RuntimeConfig.invalidVariables(of: config),
            "a variable is NAME=VALUE")
    }

    /// Logs a warning that names the parts of an image that are not in its config.json; nothing if there are none.
    private func warn(_ what: String, _ omitted: [String], _ remedy: String) {
        if omitted.isEmpty { return }
        let names = omitted.prefix(Self.maximumNames).map {
            "'\(escaped($0.utf8.prefix(Self.maximumNameLength)))'"
        }
        let more = omitted.count > names.count ? " and \(omitted.count - names.count) more" : ""
        let text = "\(what): \(names.joined(separator: ", "))\(more) (\(remedy))"
        Log.print(LogLine(level: .warning, message: text), lines: ["unpack: warning: \(text)"])
    }

    /// Names in one warning: a hostile image has any number of them.
    private static let maximumNames = 10
    /// In bytes.
    private static let maximumNameLength = 100

    private func job(_ key: String?) -> UnpackJob {
        UnpackJob(
            image: image, selection: selection, store: store, limits: limits, durability: durability,
            progressOptions: progressOptions, writableKey: key)
    }

    private func checkDestinations() throws {
        let given = [("--target", target), ("--bundle", bundle), ("--output", output)].filter { $1 != nil }
            .map(\.0)
        if given.count > 1 {
            throw UnpackError(
                .usage, "\(given.joined(separator: " and ")) exclude each other", hint: "run it once for each"
            )
        }
        try refuse(readOnly: readOnly, writableKey)
        if json, let format, format != .json {
            throw UnpackError(
                .usage, "--json and --format \(format.rawValue) exclude each other",
                hint: "run it once for each")
        }
        if output != nil, writableKey != nil || printedFormat != .mount {
            throw UnpackError(.usage, "--rw, --format and --json apply to snapshots, and --output makes none")
        }
        if annotationLabels != nil, bundle == nil {
            throw UnpackError(
                .usage, "--annotation-labels applies to a bundle's config.json", hint: "add --bundle DIR")
        }
        if printedFormat.needsTarget, target == nil, bundle == nil {
            throw UnpackError(
                .usage, "--format \(printedFormat.rawValue) needs a target", hint: "add --target DIR")
        }
    }
}
