internal import ArgumentParser
internal import Kernel
internal import Mounts
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

struct RmCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove images, and the layers that nothing else needs.",
        discussion: """
            An image with several names loses only the given one; with its last name, or given by its digest, it is removed. \
            A writable snapshot (--rw) keeps the layers of its image until the snapshot is removed; what keeps layers is \
            printed with the command that ends it.

            \(WaitOptions.discussion)
            """)

    @Argument(
        help: ArgumentHelp(
            "Names or digests, as listed by `unpack images`; the beginning of a digest is enough.",
            valueName: "image"))
    var images: [String]

    @Flag(name: [.customShort("f"), .long], help: "Ignore names that no image has.")
    var force = false

    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    @OptionGroup var waiting: WaitOptions

    @OptionGroup var output: JSONOptions

    private struct Document: Encodable {
        let name: String
        let digest: Digest
        /// The names that the image still has; empty if it was removed.
        let names: [String]
        /// Names of the layers that were removed, topmost first.
        let removed: [String]
        /// How many layers are kept because something else needs them.
        let kept: Int
        /// What needs them.
        let keptBy: [KeeperDocument]
        /// Bytes on the disk of the removed layers.
        let diskUsage: Int64
    }

    func run() throws {
        let opened = try force ? self.store.openIfExisting() : self.store.openExisting()
        try attempt { try opened?.measureAll() }
        var documents = [Document]()
        for name in images {
            guard let store = opened, let image = try image(name, in: store) else { continue }
            let (document, isDeleted) = try remove(image, name, in: store)
            // Printed at once, because the next name may fail.
            if !output.isJSON { try printResult(text(of: document, isDeleted: isDeleted)) }
            documents.append(document)
        }
        if output.isJSON { try printResult(try attempt { try encoded(documents) }) }
    }

    /// - Returns: nil if there is none, and that is to be ignored.
    private func image(_ name: String, in store: SnapshotStore) throws -> ImageRecord? {
        do {
            return try self.store.image(name, in: store)
        } catch let error as UnpackError where error.code == .notFound && force {
            return nil
        }
    }

    /// Removes an image, or only the name by which it was given if it has others.
    private func remove(
        _ image: ImageRecord, _ name: String, in store: SnapshotStore
    ) throws -> (Document, isDeleted: Bool) {
        let others = image.names.filter { !$0.utf8.elementsEqual(name.utf8) }
        if others.count < image.names.count, !others.isEmpty {
            try attempt { try store.removeName(name, of: image.manifest) }
            let document = Document(
                name: name, digest: image.manifest, names: others, removed: [], kept: image.layers.count,
                keptBy: [],
                diskUsage: 0)
            return (document, true)
        }
        let removals = try attempt { try store.remove(image, .started) }
        let removed = Set(removals.map(\.snapshot.name))
        let kept = image.layers.filter { !removed.contains($0.chainID.description) }
        let keepers = try attempt { try store.keepers(of: kept.map(\.chainID)) }
        let isDeleted = try waiting.finish(store, self.store)
        let document = Document(
            name: name, digest: image.manifest, names: [], removed: removals.map(\.snapshot.name),
            kept: kept.count,
            keptBy: keepers.map(KeeperDocument.init),
            diskUsage: removals.reduce(0) { $0 + ($1.usage?.size ?? 0) }
        )
        return (document, isDeleted)
    }

    private func text(of document: Document, isDeleted: Bool) -> String {
        let name = escaped(document.name.utf8)
        if !document.names.isEmpty {
            let others = document.names.map { escaped($0.utf8) }.joined(separator: ", ")
            return "\(name): name removed; the image stays as \(others)"
        }
        let removed =
            "\(plural(document.removed.count, "layer")) removed, \(decimalSize(document.diskUsage))"
            + (isDeleted || document.removed.isEmpty ? "" : " being freed")
        if document.kept == 0 { return "\(name): \(removed)" }
        let reasons = document.keptBy.map { "  \($0.text)" }
        return (["\(name): \(removed); \(document.kept) kept\(reasons.isEmpty ? "" : " by:")"] + reasons)
            .joined(separator: "\n")
    }
}

/// What keeps layers of a removed image, and how to free them.
private struct KeeperDocument: Encodable {
    /// `image`, `snapshot`, `bundle`, `service`, `unpack` or `mount`.
    let kind: String
    /// A name of the image, the key of the snapshot, the directory of the bundle or the mount, the name of the service.
    let name: String?
    /// The command that ends the need; nil if there is none.
    let remedy: String?

    init(_ keeper: Keeper) {
        switch keeper {
        case .image(let image):
            kind = "image"
            name = image.names.first ?? image.manifest.description
            remedy = Self.command(["unpack", "rm"], name ?? "")
        case .snapshot(let snapshot):
            let bundle = BundleDirectory(snapshot.labels)
            kind = bundle == nil ? "snapshot" : "bundle"
            name = bundle?.path.string ?? snapshot.name
            remedy = Self.command(["unpack", "snapshot", "rm"], snapshot.name)
        case .service(let service):
            kind = "service"
            name = service
            remedy = nil
        case .run:
            kind = "unpack"
            name = nil
            remedy = nil
        case .mount(let target):
            kind = "mount"
            name = target.string
            remedy = Self.command(["unpack", "umount"], target.string)
        }
    }

    private static func command(_ words: [ShellWord], _ argument: String) -> String {
        (words + [ShellWord(quoting: argument, orElse: "NAME")]).command
    }

    var text: String {
        let noun =
            switch kind {
            case "unpack": "a running unpack"
            case "mount": "a mount on"
            default: "the \(kind)"
            }
        let named = [noun, name.map { escaped($0.utf8) }].compactMap(\.self).joined(separator: " ")
        return remedy.map { "\(named)  (\($0))" } ?? named
    }
}

private func plural(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
