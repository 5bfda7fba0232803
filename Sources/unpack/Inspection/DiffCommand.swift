internal import ArgumentParser
internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// Compares two trees, each of an image or of a snapshot.
struct DiffCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "List the files in which two images or snapshots differ.",
        discussion: """
            OLD and NEW are images on the disk, or images or snapshots of the store (as for 'unpack mount'). A line begins \
            with 'A' for a file that only NEW has, 'D' for a file that only OLD has, or 'M' for a file that differs, followed \
            by what differs: type, content, size, target, device, mode, owner, attributes, links (the file's hard links). \
            Contents are compared by digest. Modification times are compared only with --times, because every build changes \
            them.

            A snapshot is mounted without being attached to a directory. This needs root or a user namespace.
            """)

    @Argument(help: "The old tree: an image on the disk, or an image or snapshot in the store.")
    var old: String

    @Argument(help: "The new tree.")
    var new: String

    @Flag(help: "Compare modification times, too.")
    var times = false

    @Flag(help: "Exit with status 1 if there is a difference, and 0 if not.")
    var exitCode = false

    @OptionGroup var output: JSONOptions

    @Option(
        help: ArgumentHelp("The platform of images, if not this machine's.", valueName: "os/arch[/variant]"))
    var platform: String?

    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var verbosity: LogOptions

    /// Only snapshots need a namespace; an image is read without one.
    var needsNamespace: Bool { [old, new].contains { store.canOnlyBeStored($0) } }

    func run() throws {
        let (old, new) = (try open(old), try open(new))
        let (differences, cancellation) = try inspect(verbosity) { inspector, cancellation in
            (try inspector.differences(old, new, comparesTimes: times), cancellation)
        }
        var writer = LineWriter()
        var count = 0
        try differences.forEach(
            describesFiles: output.isJSON, check: { try attempt { try cancellation.check() } }
        ) { change in
            count += 1
            try writer.add(output.isJSON ? try attempt { try encoded(change) } : Self.line(change))
        }
        try writer.flush()
        if exitCode, count > 0 { throw ExitCode(1) }
    }

    private static func line(_ change: ChangeDocument) -> String {
        let what = change.what.joined(separator: ", ")
        return "\(change.change) \(change.path)" + (what.isEmpty ? "" : "  (\(what))")
    }

    /// Opens an image on the disk, or an image or a snapshot of the store.
    private func open(_ text: String) throws -> ComparedTree {
        if let (name, store) = try store.storedIfMeant(text) { return ComparedTree(name, in: store) }
        var selection = SelectionOptions()
        selection.ref = nil
        selection.digest = nil
        selection.platform = platform
        selection.timeout = nil
        return try store.opening(text) { .image(try selection.open(text)) }
    }
}
