internal import ArgumentParser
internal import Kernel
internal import Layout
internal import Mounts
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// The main job, `unpack IMAGE`.
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
            Every blob is read once and verified in that pass; each layer becomes a snapshot under its chain ID. What \
            is printed mounts the root file system, read-only unless --rw is given:

              sudo $(sudo unpack IMAGE) /mnt/rootfs
              line=$(sudo unpack IMAGE --target /mnt/rootfs) && sudo sh -ec "$line"

            Exit status: 0 done, 64 usage, 65 the image is wrong, 66 not found, 69 not possible here, 70 a bug, \
            74 I/O or no space, 75 the store is busy, 77 not permitted, 130 and 143 interrupted.

            What flags do not say the environment may, or \(ConfigurationFile.defaultPath): `unpack config` shows it.

            To look into images: inspect, ls, why, diff. To mount: mount, umount, run-in-namespace. The store: images, rm, \
            prune, verify, snapshot. This machine: doctor, config. `unpack COMMAND --help` tells more.
            """,
        shouldDisplay: false)

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case mount, shell, json, containerd, fstab, systemd, mstack, path

        /// Whether paths stand in it as words.
        var isWords: Bool { ![.json, .containerd, .path].contains(self) }

        /// Whether it makes no sense without a place to mount on.
        var needsTarget: Bool { [.fstab, .systemd, .mstack].contains(self) }
    }

    @Argument(help: imageHelp, completion: .file())
    var image: String

    @OptionGroup var selection: SelectionOptions
    @OptionGroup var store: StoreOptions

    @Option(
        name: .customLong("rw"),
        help: ArgumentHelp(
            "Make (or use again) the writable snapshot of this key on top of it.", valueName: "key"))
    var writableKey: String?

    @Option(
        help: ArgumentHelp(
            """
            mount: one line for a shell. shell: a script, whose argument is the target. json: everything. containerd: the mounts \
            as `ctr snapshots prepare --mounts` prints them. fstab, systemd: for those, with --target. mstack: a script that \
            makes the directory of systemd.mstack(7) that --target names. path: the layers' directories, topmost first.
            """, valueName: "name"))
    var format: Format = .mount

    @Option(
        help: ArgumentHelp("Where it will be mounted; printed into the line.", valueName: "dir"),
        completion: .directory)
    var target: String?

    @Option(
        help: ArgumentHelp(
            """
            Make an OCI runtime bundle: config.json, and rootfs as the target of the line. Writable, with a snapshot of the \
            bundle's own, unless --rw names another.
            """, valueName: "dir"))
    var bundle: String?

    @Option(
        name: .customLong("annotation-labels"),
        help: Settings.annotationLabels.help(
            """
            Which labels of the image become annotations in the bundle's config.json: those that no runtime is known to act on \
            (safe), all, or none.
            """, valueName: "safe|all|none"),
        completion: .list(AnnotationLabels.allCases.map(\.rawValue)))
    var annotationLabels: String?

    @Option(
        name: [.customShort("o"), .long],
        help: ArgumentHelp(
            """
            Unpack with no store and no snapshots: into one plain directory, which must be empty or not there yet, or to one \
            reproducible tar (FILE.tar, or - for stdout), which no root is needed for. $SOURCE_DATE_EPOCH is the latest time \
            of a file in the tar.
            """, valueName: "dir|file.tar|-"), completion: .file())
    var output: String?

    @OptionGroup var limits: LimitOptions
    @OptionGroup var durability: DurabilityOptions
    @OptionGroup var talk: ProgressOptions

    var needsNamespace: Bool {
        if let output, case .tar? = try? OutputPlace(output) { return false }
        return true
    }

    var farewell: String? {
        if talk.talk.quiet { return nil }
        if output != nil { return "look at it, and remove it, inside of 'unpack run-in-namespace -- sh'" }
        guard format.isWords else { return nil }
        return "that is for a user namespace: run it inside of 'unpack run-in-namespace -- sh'"
    }

    func run() throws {
        try refuseCommand()
        try checkDestinations()
        if let output = try output.map(OutputPlace.init) { return try job(nil).write(to: output) }
        let root = try store.rootPath()
        let bundle = try bundle.map { Bundle(try absoluteName($0, of: "--bundle")) }
        // Before any work, as for the target.
        _ = try Settings.annotationLabels.resolve(annotationLabels)
        let target = try bundle?.rootfs ?? target.map { try absolutePath($0, of: "--target") }
        // Before any work: a line that cannot be printed is no surprise for the end of it.
        if format.isWords { try attempt { try MountLine.check([root] + (target.map { [$0] } ?? [])) } }
        if format == .path { _ = try ResultPrinter.line(root) }
        let openBundle = try bundle?.open()
        let key = writableKey ?? bundle?.key
        let result = try job(key).run()
        if let openBundle { try write(openBundle, of: result) }
        try say(try ResultPrinter(result, in: store, writableKey: key, target: target).text(format))
    }

    private func write(_ bundle: OpenBundle, of result: UnpackResult) throws {
        let labels = try Settings.annotationLabels.resolve(annotationLabels)
        let isNew = try bundle.write(
            result, root: try store.rootPath(), snapshotter: store.snapshotterName, labels: labels)
        if talk.talk.quiet { return }
        if !isNew { return Talk.say("the bundle's config.json is kept as it is") }
        let config = result.image.config
        warn(
            "config.json has no annotations of labels that a runtime would act on",
            labels == .safe ? RuntimeConfig.steeringLabels(of: config) : [],
            "--annotation-labels all keeps them")
        warn(
            "config.json has no variables of these entries of Env",
            RuntimeConfig.unusableVariables(of: config),
            "a variable is NAME=VALUE")
    }

    /// Says what of an image is not in its config.json, if there is any.
    private func warn(_ what: String, _ omitted: [String], _ remedy: String) {
        if omitted.isEmpty { return }
        let names = omitted.prefix(Self.mostNames).map { "'\(escaped($0.utf8.prefix(Self.longestName)))'" }
        let more = omitted.count > names.count ? " and \(omitted.count - names.count) more" : ""
        let text = "\(what): \(names.joined(separator: ", "))\(more) (\(remedy))"
        Talk.say(Remark(level: .warning, message: text), lines: ["unpack: warning: \(text)"])
    }

    /// Names in one warning, of which an image may have any number, and bytes of each.
    private static let mostNames = 10
    private static let longestName = 100

    private func job(_ key: String?) -> UnpackJob {
        UnpackJob(
            image: image, selection: selection, store: store, limits: limits, durability: durability,
            talk: talk, writableKey: key)
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
            throw UnpackError(.usage, "--rw and --format are about snapshots, and --output makes none")
        }
        if annotationLabels != nil, bundle == nil {
            throw UnpackError(
                .usage, "--annotation-labels is about a bundle's config.json", hint: "add --bundle DIR")
        }
        if format.needsTarget, target == nil, bundle == nil {
            throw UnpackError(
                .usage, "--format \(format.rawValue) needs to know where", hint: "add --target DIR")
        }
    }
}

extension UnpackCommand {
    /// `unpack --root DIR images` asks for a command, and not for an image of that name.
    private func refuseCommand() throws {
        let commands = RootCommand.configuration.subcommands.compactMap { $0.configuration.commandName }
        guard commands.contains(image), (try? FilePath(image).resolved()) == nil else { return }
        throw UnpackError(
            .usage, "'\(image)' is a command, and stands before its options",
            hint: "unpack \(image) [options]; an image of this name is ./\(image)")
    }
}
