internal import Archive
internal import ArgumentParser
internal import Kernel
internal import Layers
internal import Mounts
internal import OCI
internal import Programs
internal import Snapshots
internal import Streams
internal import SystemPackage
internal import Unpacking

/// What two trees have otherwise.
struct DiffCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract:
            "Tell in which files two images differ, or an image and a snapshot of the store. Writes nothing.",
        discussion: """
            A and B are images, or keys or chain IDs of snapshots in the store; ./NAME is an image in any case. A line is 'A' \
            for what only B has, 'D' for what only A has, and 'M' with what is different: type, content, size, target, \
            device, mode, owner, attributes, links (the other names of the same file). Contents are compared by digest. \
            A modification time alone is no difference unless --times is given: every build sets them anew.

            A snapshot is mounted where nobody sees it, as root or in a user namespace.
            """)

    @Argument(help: "The old one: an image, or a snapshot's key or chain ID.")
    var old: String

    @Argument(help: "The new one.")
    var new: String

    @Flag(help: "Modification times count, too.")
    var times = false

    @Flag(help: "End with status 1 if there is a difference, and 0 if not.")
    var exitCode = false

    @Flag(help: "Print one JSON object a line.")
    var json = false

    @Option(
        help: ArgumentHelp("The platform of images, if not this machine's.", valueName: "os/arch[/variant]"))
    var platform: String?

    @OptionGroup var store: StoreOptions
    @OptionGroup var talk: TalkOptions

    /// Images are read by anybody.
    var needsNamespace: Bool { [old, new].contains { !$0.contains("/") && (try? find($0)) != nil } }

    func run() throws {
        let (old, new) = (try open(old), try open(new))
        let (oldTree, newTree, cancellation) = try looking(talk) { look, cancellation in
            if case .image(let old) = old, case .image(let new) = new {
                let trees = try look.trees(of: old, new)
                return (trees.0, trees.1, cancellation)
            }
            return (
                try tree(of: old, look, cancellation), try tree(of: new, look, cancellation), cancellation
            )
        }
        let check = { try attempt { try cancellation.check() } }
        var writer = LineWriter()
        var count = 0
        let links = (old: oldTree.linkCounts(), new: newTree.linkCounts())
        try TreeChanges.compare(oldTree, newTree, comparesTimes: times, check: check) { change in
            count += 1
            guard json else { return try writer.add(Self.line(change)) }
            let document = ChangeDocument(
                change: change.kind.letter, path: shown(change.path), what: change.aspects.map(\.rawValue),
                old: change.old.map { FileDocument(oldTree[$0], at: change.path, links: links.old[$0]) },
                new: change.new.map { FileDocument(newTree[$0], at: change.path, links: links.new[$0]) })
            try writer.add(try attempt { try encoded(document) })
        }
        try writer.flush()
        if exitCode, count > 0 { throw ExitCode(1) }
    }

    private static func line(_ change: TreeChange) -> String {
        let what = change.aspects.map(\.rawValue).joined(separator: ", ")
        return "\(change.kind.letter) \(shown(change.path))" + (what.isEmpty ? "" : "  (\(what))")
    }

    private struct ChangeDocument: Encodable {
        let change: String
        let path: String
        let what: [String]
        let old: FileDocument?
        let new: FileDocument?
    }

    // MARK: What is compared

    private enum Side {
        case image(OpenedImage)
        case snapshot(key: String, SnapshotStore)
    }

    /// As `unpack mount` takes it: what the store has goes before what is in the working directory.
    private func open(_ text: String) throws -> Side {
        if !text.contains("/"), let (store, name) = try find(text) { return .snapshot(key: name, store) }
        var selection = SelectionOptions()
        selection.ref = nil
        selection.digest = nil
        selection.platform = platform
        return .image(try openImage(text, selection))
    }

    /// The snapshot of a chain or a key; nil where there is none, and where the store may not be looked into.
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

    private func tree(of side: Side, _ look: ImageLook, _ cancellation: Cancellation) throws -> ImageTree {
        switch side {
        case .image(let opened): return try look.tree(of: opened, digests: true)
        case .snapshot(let key, let store):
            return try attempt {
                let isCommitted = try store.stat(key).kind == .committed
                let mounts = try isCommitted ? store.readOnlyMounts(of: key) : store.mounts(of: key)
                guard let mount = mounts.last, mounts.count == 1 else {
                    throw UnpackError(
                        .internal, "the snapshot '\(escaped(key.utf8))' has \(mounts.count) mounts")
                }
                let tree = try mount.openTree()
                return try withExtendedLifetime(tree) {
                    try ImageTree(walking: tree.root) { try cancellation.check() }
                }
            }
        }
    }
}

extension TreeChange.Kind {
    fileprivate var letter: String {
        switch self {
        case .added: "A"
        case .deleted: "D"
        case .modified: "M"
        }
    }
}
