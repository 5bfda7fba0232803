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
        usage: """
            unpack IMAGE [options]
            unpack mount IMAGE|CHAIN|KEY DIR
            unpack umount DIR
            unpack COMMAND --help
            """,
        discussion: """
            Every blob is verified while it is unpacked; each layer becomes a snapshot named by its chain ID. The \
            printed line mounts the root file system, read-only unless --rw is given:

              sudo $(sudo unpack IMAGE) /mnt/rootfs
              line=$(sudo unpack IMAGE --target /mnt/rootfs) && sudo sh -ec "$line"

            Exit status: 0 done, 64 usage, 65 the image is wrong, 66 not found, 69 not possible here, 70 a bug, \
            74 I/O or no space, 75 the store is busy, 77 not permitted, 130 and 143 interrupted.

            Defaults of flags can be set in the environment and in \(ConfigurationFile.defaultPath): see `unpack config`.

            Inspecting images: inspect, ls, why, diff. Mounting: mount, umount, run-in-namespace. The store: images, rm, \
            prune, verify, snapshot. This machine: doctor, config. `unpack COMMAND --help` describes a command.
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

    @OptionGroup var selection: SelectionOptions
    @OptionGroup var store: StoreOptions

    @Option(
        name: .customLong("rw"),
        help: ArgumentHelp(
            "Create or reuse the writable snapshot with this key on top of the image.", valueName: "key"))
    var writableKey: String?

    @Option(
        help: ArgumentHelp(
            """
            mount: one line for a shell. shell: a script, whose argument is the target. json: the complete result. containerd: \
            the mounts as `ctr snapshots prepare --mounts` prints them. fstab: a line of fstab(5). systemd: a mount unit. \
            mstack: a script that creates the directory of systemd.mstack(7) that --target names. path: the layers' \
            directories, topmost first. fstab, systemd and mstack need --target.
            """, valueName: "name"))
    var format: Format = .mount

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

    @OptionGroup var limits: LimitOptions
    @OptionGroup var durability: DurabilityOptions
    @OptionGroup var progressOptions: ProgressOptions

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
        guard format.isWords else { return nil }
        return "the mount works in a user namespace only: run it inside 'unpack run-in-namespace -- sh'"
    }

    func run() throws {
        try refuseCommand()
        try checkDestinations()
        if let output = try output.map(OutputDestination.init) { return try job(nil).write(to: output) }
        let root = try store.rootPath()
        let bundle = try bundle.map { Bundle(try absoluteNotFollowing($0, of: "--bundle")) }
        // Every argument is checked before any work.
        _ = try Settings.annotationLabels.resolve(annotationLabels)
        let target = try bundle?.rootfs ?? target.map { try absolutePath($0, of: "--target") }
        if format.isWords { try attempt { try MountLine.check([root] + (target.map { [$0] } ?? [])) } }
        if format == .path { _ = try ResultPrinter.line(root) }
        let openBundle = try bundle?.open()
        let key = writableKey ?? bundle?.key
        let result = try job(key).run()
        if let openBundle { try write(openBundle, of: result) }
        try printResult(try ResultPrinter(result, in: store, writableKey: key, target: target).text(format))
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
        if output != nil, writableKey != nil || format != .mount {
            throw UnpackError(.usage, "--rw and --format apply to snapshots, and --output makes none")
        }
        if annotationLabels != nil, bundle == nil {
            throw UnpackError(
                .usage, "--annotation-labels applies to a bundle's config.json", hint: "add --bundle DIR")
        }
        if format.needsTarget, target == nil, bundle == nil {
            throw UnpackError(
                .usage, "--format \(format.rawValue) needs a target", hint: "add --target DIR")
        }
    }
}

extension UnpackCommand {
    /// Refuses an image with the name of a command, as in `unpack --root DIR images`.
    private func refuseCommand() throws {
        let commands = RootCommand.configuration.subcommands.compactMap { $0.configuration.commandName }
        guard commands.contains(image), (try? FilePath(image).resolved()) == nil else { return }
        throw UnpackError(
            .usage, "'\(image)' is a command, and must come before its options",
            hint: "unpack \(image) [options]; an image of this name is ./\(image)")
    }
}
