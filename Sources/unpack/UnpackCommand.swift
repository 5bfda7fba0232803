internal import ArgumentParser
internal import Kernel
internal import Mounts
internal import Snapshots
internal import Streams
internal import SystemPackage
internal import Unpacking

/// The main job, `unpack IMAGE`.
struct UnpackCommand: ParsableCommand {
    static let hiddenName = "unpack-image"

    static let configuration = CommandConfiguration(
        commandName: hiddenName,
        abstract: "Unpack an OCI image into verified snapshots, and print how to mount it.",
        usage: """
            unpack IMAGE [options]
            unpack inspect IMAGE [--json]
            unpack mount IMAGE|CHAIN|KEY DIR
            unpack umount DIR
            """,
        discussion: """
            Every blob is read once and verified in that pass; each layer becomes a snapshot under its chain ID. What \
            is printed mounts the root file system, read-only unless --rw is given:

              sudo $(sudo unpack IMAGE) /mnt/rootfs
              line=$(sudo unpack IMAGE --target /mnt/rootfs) && sudo sh -ec "$line"

            Exit status: 0 done, 64 usage, 65 the image is wrong, 66 not found, 69 not possible here, 70 a bug, \
            74 I/O or no space, 75 the store is busy, 77 not permitted, 130 and 143 interrupted.

            Other commands: inspect, mount, umount, images, rm, prune, verify, snapshot. `unpack COMMAND --help` tells more.
            """,
        shouldDisplay: false)

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case mount, json, path
    }

    @Argument(help: imageHelp)
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
            "mount: one line for a shell. json: everything. path: the layers' directories, topmost first.",
            valueName: "mount|json|path"))
    var format: Format = .mount

    @Option(help: ArgumentHelp("Where it will be mounted; printed into the line.", valueName: "dir"))
    var target: String?

    @OptionGroup var limits: LimitOptions
    @OptionGroup var durability: DurabilityOptions
    @OptionGroup var talk: TalkOptions

    func run() throws {
        try refuseCommand()
        let root = try store.rootPath()
        let target = try target.map { try absolutePath($0, of: "--target") }
        // Before any work: a line that cannot be printed is no surprise for the end of it.
        if format == .mount { try attempt { try MountLine.check([root] + (target.map { [$0] } ?? [])) } }
        let result = try UnpackJob(
            image: image, selection: selection, store: store, limits: limits, durability: durability,
            talk: talk, writableKey: writableKey
        ).run()
        let printer = ResultPrinter(
            result, in: store, writableKey: writableKey, target: target)
        let text =
            switch format {
            case .mount: try printer.mountLine()
            case .json: try printer.json()
            case .path: printer.paths()
            }
        try attempt { try Console.write(text + "\n") }
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

/// An unpack as the command line asks for one, with what is said meanwhile.
struct UnpackJob {
    let image: String
    let selection: SelectionOptions
    let store: StoreOptions
    let limits: LimitOptions
    let durability: DurabilityOptions
    let talk: TalkOptions
    let writableKey: String?

    func run() throws -> UnpackResult {
        let (source, selector) = try selection.resolve(image)
        let request = UnpackRequest(
            image: source, selector: selector, root: try store.rootPath(), snapshotter: store.snapshotterName,
            durability: durability.sync, writableKey: writableKey, limits: try limits.limits(),
            jobs: try limits.jobCount())
        // Before the first thread starts. A wish to stop is heard between two entries, and leaves a clean store.
        let cancellation = Cancellation()
        Process.onTermination { cancellation.cancel(signal: $0) }
        let progress = ProgressReport(talk)
        defer { progress.end() }
        let unpacker = Unpacker(
            request, cancellation: cancellation, logger: talk.logger, onEvent: { progress.take($0) })
        return try unpacker.run()
    }
}
