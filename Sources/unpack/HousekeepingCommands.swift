internal import ArgumentParser
internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import Unpacking

struct ImagesCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "images", abstract: "List the images that were unpacked into the store, oldest first.")

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    func run() throws {
        let images = try attempt { () throws -> [(ImageRecord, Int64)] in
            guard let store = try store.openIfExisting() else { return [] }
            return try store.images().map { image in
                // Layers that images share count for each of them.
                // Somebody may remove it meanwhile.
                let sizes = try image.layers.map {
                    try store.verified($0.chainID).flatMap { try store.usageIfPresent(of: $0.name)?.size }
                        ?? 0
                }
                return (image, sizes.reduce(0, +))
            }
        }
        if json { return try say(try attempt { try encoded(images.map(ImageListing.init)) }) }
        let rows = images.map { image, size in
            [
                image.reference ?? "-", image.manifest.description, image.platform.description,
                "\(image.layers.count)", binarySize(size),
            ]
        }
        try say(Table(["REFERENCE", "DIGEST", "PLATFORM", "LAYERS", "SIZE"], rows).text)
    }
}

private struct ImageListing: Encodable {
    let reference: String?
    let digest: Digest
    let mediaType: MediaType
    let platform: String
    let chainID: ChainID
    /// Bytes that its layers take.
    let size: Int64
    let layers: [Layer]

    struct Layer: Encodable {
        let digest: Digest
        let diffID: DiffID
        let chainID: ChainID
        /// Bytes of the blob.
        let size: Int64
    }

    init(_ image: ImageRecord, size: Int64) {
        reference = image.reference
        digest = image.manifest
        mediaType = image.mediaType
        platform = image.platform.description
        chainID = image.topChain
        self.size = size
        layers = image.layers.map {
            Layer(digest: $0.digest, diffID: $0.diffID, chainID: $0.chainID, size: $0.size)
        }
    }
}

struct RmCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Forget images, and remove the layers that nothing else needs.",
        discussion: """
            Writable snapshots (--rw) of an image keep its layers until they are removed themselves.

            \(WaitOptions.discussion)
            """)

    @Argument(help: "References or manifest digests, as `unpack images` lists them.")
    var images: [String]

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @OptionGroup var waiting: WaitOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    private struct Document: Encodable {
        let reference: String?
        let digest: Digest
        /// Names of the layers that were removed, topmost first.
        let removed: [String]
        /// Layers that something else needs.
        let kept: Int
        /// Bytes that the removed ones took.
        let bytes: Int64
    }

    func run() throws {
        let store = try self.store.openExisting()
        var documents = [Document]()
        try attempt { try store.measureAll() }
        for name in images {
            let image = try find(name, in: store)
            let removals = try attempt { try store.remove(image, .begun) }
            let isDeleted = try waiting.finish(store, self.store)
            let document = Document(
                reference: image.reference, digest: image.manifest, removed: removals.map(\.snapshot.name),
                kept: image.layers.count - removals.count,
                bytes: removals.reduce(0) { $0 + ($1.usage?.size ?? 0) })
            // At once: the next one may not be there.
            if !json { try say(text(of: document, isDeleted: isDeleted)) }
            documents.append(document)
        }
        if json { try say(try attempt { try encoded(documents) }) }
    }

    private func text(of document: Document, isDeleted: Bool) -> String {
        let name = document.reference.map { escaped($0.utf8) } ?? "\(document.digest)"
        let removed =
            "\(plural(document.removed.count, "layer")) removed, \(binarySize(document.bytes))"
            + (isDeleted || document.removed.isEmpty ? "" : " being freed")
        if document.kept == 0 { return "\(name): \(removed)" }
        return "\(name): \(removed), \(document.kept) stay: "
            + "other images, snapshots, services or a running unpack need them, or they are mounted"
    }

    private func find(_ name: String, in store: SnapshotStore) throws -> ImageRecord {
        let digest = try? Digest(parsing: name)
        let found = try attempt { try store.images() }.filter {
            $0.reference == name || $0.manifest == digest
        }
        guard let image = found.first else {
            throw UnpackError(
                .notFound, "there is no image '\(escaped(name.utf8))' in the store",
                hint: "list them with 'unpack images'")
        }
        guard found.count == 1 else {
            throw UnpackError(
                .usage,
                "\(found.count) images are called '\(escaped(name.utf8))':",
                list: found.map { "\($0.manifest)  \($0.platform)" },
                hint: "name one by its digest")
        }
        return image
    }
}

struct PruneCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Remove layers that no image needs, and what crashes have left.",
        discussion: """
            Nothing goes that an image, a writable snapshot, a view or a running unpack needs, nor anything that was made \
            with `unpack snapshot` or by a service.

            \(WaitOptions.discussion)
            """)

    @Flag(help: "Say what would go, and remove nothing.")
    var dryRun = false

    @OptionGroup var waiting: WaitOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    private struct Document: Encodable {
        let dryRun: Bool
        let bytes: Int64
        let items: [Item]
    }

    private struct Item: Encodable {
        /// `snapshot` or `leftover`.
        let kind: String
        let name: String
        let bytes: Int64
        let reason: String
    }

    func run() throws {
        let (items, isDeleted) = try attempt { try store.openIfExisting().map(prune) ?? ([], true) }
        let bytes = items.reduce(0) { $0 + $1.bytes }
        if json {
            return try say(try attempt { try encoded(Document(dryRun: dryRun, bytes: bytes, items: items)) })
        }
        let rows = items.map { [$0.name, binarySize($0.bytes), $0.reason] }
        if rows.isEmpty { return try say("nothing to remove") }
        try say(Table(["NAME", "SIZE", "REASON"], rows).text)
        try say("\(binarySize(bytes)) \(dryRun ? "would be freed" : isDeleted ? "freed" : "being freed")")
    }

    private func prune(_ store: SnapshotStore) throws -> (items: [Item], isDeleted: Bool) {
        let plan = try store.prunable()
        // What is really removed may be more or less than what was there a moment ago. What a reboot has taken the
        // trust from goes as the run starts.
        let removals =
            dryRun
            ? plan.snapshots
            : try plan.snapshots.filter { $0.reason == .distrusted }
                + store.prune(in: try store.startRun(.begun), .begun)
        let measured = plan.snapshots.compactMap { plan in plan.usage.map { (plan.snapshot.name, $0) } }
        let planned = Dictionary(measured) { first, _ in first }
        let items =
            removals.map {
                Item(
                    kind: "snapshot", name: $0.snapshot.name,
                    bytes: ($0.usage ?? planned[$0.snapshot.name])?.size ?? 0,
                    reason: $0.reason.rawValue)
            }
            + plan.leftovers.map {
                Item(kind: "leftover", name: $0.name, bytes: $0.size, reason: $0.reason.rawValue)
            }
        return (items, try dryRun || waiting.finish(store, self.store))
    }
}

private func plural(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
