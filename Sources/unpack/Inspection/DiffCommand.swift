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
        abstract:
            "List the files in which two images differ, or an image and a snapshot of the store. Writes nothing.",
        discussion: """
            OLD and NEW are images, or keys or chain IDs of snapshots in the store; ./NAME is always an image. A line begins \
            with 'A' for a file that only NEW has, 'D' for a file that only OLD has, or 'M' for a file that differs, followed \
            by what differs: type, content, size, target, device, mode, owner, attributes, links (the file's hard links). \
            Contents are compared by digest. Modification times are compared only with --times, because every build changes \
            them.

            A snapshot is mounted without being attached to a directory. This needs root or a user namespace.
            """)

    @Argument(help: "The old tree: an image, or a snapshot's key or chain ID.")
    var old: String

    @Argument(help: "The new tree.")
    var new: String

    @Flag(help: "Compare modification times, too.")
    var times = false

    @Flag(help: "Exit with status 1 if there is a difference, and 0 if not.")
    var exitCode = false

    @Flag(help: "Print one JSON object per line.")
    var json = false

    @Option(
        help: ArgumentHelp("The platform of images, if not this machine's.", valueName: "os/arch[/variant]"))
    var platform: String?

    @OptionGroup var store: StoreOptions
    @OptionGroup var verbosity: LogOptions

    /// Only snapshots need a namespace; an image is read without one.
    var needsNamespace: Bool { [old, new].contains { !$0.contains("/") && (try? find($0)) != nil } }

    func run() throws {
        let (old, new) = (try open(old), try open(new))
        let (differences, cancellation) = try inspect(verbosity) { inspector, cancellation in
            (try inspector.differences(old, new, comparesTimes: times), cancellation)
        }
        var writer = LineWriter()
        var count = 0
        try differences.forEach(
            describesFiles: json, check: { try attempt { try cancellation.check() } }
        ) { change in
            count += 1
            try writer.add(json ? try attempt { try encoded(change) } : Self.line(change))
        }
        try writer.flush()
        if exitCode, count > 0 { throw ExitCode(1) }
    }

    private static func line(_ change: ChangeDocument) -> String {
        let what = change.what.joined(separator: ", ")
        return "\(change.change) \(change.path)" + (what.isEmpty ? "" : "  (\(what))")
    }

    /// Opens an image or a snapshot. As for `unpack mount`, a snapshot of the store takes precedence over a path.
    private func open(_ text: String) throws -> ComparedTree {
        if !text.contains("/"), let (store, name) = try find(text) { return .snapshot(key: name, store) }
        var selection = SelectionOptions()
        selection.ref = nil
        selection.digest = nil
        selection.platform = platform
        return .image(try selection.open(text))
    }

    /// The snapshot with a chain ID or a key; nil if there is none, or if the store is not readable for this user.
    private func find(_ text: String) throws -> (SnapshotStore, name: String)? {
        do {
            guard let store = try store.openIfExisting() else { return nil }
            let chain = try? ChainID(Digest(parsing: text))
            let found = try attempt { try chain.map { try store.verified($0) } ?? store.find(text) }
            return found.map { (store, $0.name) }
        } catch let error as UnpackError where error.code == .permission {
            return nil
        }
    }
}
