internal import ArgumentParser
internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import Unpacking

struct PruneCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Remove what nothing needs, and old images on request.",
        discussion: """
            Keeps everything that an image, a writable snapshot, a view or a running unpack needs, and everything that was \
            created with `unpack snapshot` or by a service; the snapshot of a bundle is removed after the bundle's directory.

            Images are removed only with --older-than or --keep-bytes, the least recently used first. With both, both limits \
            hold afterwards. An image that is mounted, or on which a snapshot is based, stays.

            \(WaitOptions.discussion)
            """)

    @Flag(name: [.customShort("n"), .long], help: "Print what would be removed, and remove nothing.")
    var dryRun = false

    @Option(
        help: ArgumentHelp(
            "Remove images that were not used for so long: a number and s, m, h or d.", valueName: "time"))
    var olderThan: String?

    @Option(
        help: ArgumentHelp(
            "Remove images until the layers of the others take at most so many bytes.", valueName: "size"))
    var keepBytes: String?

    @Option(help: ArgumentHelp("An image that stays; the option can be repeated.", valueName: "image"))
    var keep: [String] = []

    @OptionGroup var waiting: WaitOptions

    @OptionGroup var output: JSONOptions

    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    private struct Document: Encodable {
        let dryRun: Bool
        /// Bytes on the disk of all items.
        let diskUsage: Int64
        let items: [Item]
    }

    private struct Item: Encodable {
        /// `image`, `snapshot` or `leftover`. The disk usage of an image is that of its layers, and in no other item.
        let kind: String
        let name: String
        let diskUsage: Int64
        let reason: String
    }

    func run() throws {
        let (items, isDeleted) = try attempt { try store.openIfExisting().map(prune) ?? ([], true) }
        let bytes = items.reduce(0) { $0 + $1.diskUsage }
        if output.isJSON {
            return try printResult(
                try attempt { try encoded(Document(dryRun: dryRun, diskUsage: bytes, items: items)) })
        }
        let rows = items.map { [$0.name, decimalSize($0.diskUsage), $0.reason] }
        if rows.isEmpty { return try printResult("nothing to remove") }
        try printResult(Table(["NAME", "SIZE", "REASON"], rows).text)
        try printResult(
            "\(decimalSize(bytes)) \(dryRun ? "would be freed" : isDeleted ? "freed" : "being freed")")
    }

    private func policy(in store: SnapshotStore) throws -> PrunePolicy {
        if olderThan == nil, keepBytes == nil, !keep.isEmpty {
            throw UnpackError(.usage, "--keep goes with --older-than or --keep-bytes")
        }
        let age = try olderThan.map { try TimeSpan($0, of: "--older-than").nanoseconds }
        let bytes = try keepBytes.map { try ByteSize($0, of: "--keep-bytes").bytes }
        let kept = try keep.map { try self.store.image($0, in: store).manifest }
        return PrunePolicy(olderThan: age, keepBytes: bytes, kept: Set(kept))
    }

    /// Removes the images that the policy removes, with their layers.
    private func pruneImages(_ store: SnapshotStore) throws -> [Item] {
        let policy = try policy(in: store)
        if policy.removesImages, !dryRun { try store.measureAll() }
        let removals = try store.removableImages(policy)
        if !dryRun { for removal in removals { _ = try store.remove(removal.image, .started) } }
        return removals.map { removal in
            Item(
                kind: "image", name: removal.image.names.first ?? removal.image.manifest.description,
                diskUsage: removal.size, reason: removal.reason.rawValue)
        }
    }

    private func prune(_ store: SnapshotStore) throws -> (items: [Item], isDeleted: Bool) {
        // Before images are removed, whose directories would be leftovers.
        let plan = try store.prunable()
        let images = try pruneImages(store)
        // Other processes may have changed the store since `prunable`: what `prune` removed is listed. Snapshots that
        // were not synced before a reboot (`distrusted`) are removed when the run starts.
        let removals =
            dryRun
            ? plan.snapshots
            : try plan.snapshots.filter { $0.reason == .distrusted }
                + store.prune(in: try store.startRun(.started), .started)
        let measured = plan.snapshots.compactMap { plan in plan.usage.map { (plan.snapshot.name, $0) } }
        let planned = Dictionary(measured) { first, _ in first }
        let items =
            images
            + removals.map {
                Item(
                    kind: "snapshot", name: $0.snapshot.name,
                    diskUsage: ($0.usage ?? planned[$0.snapshot.name])?.size ?? 0,
                    reason: $0.reason.rawValue)
            }
            + plan.leftovers.map {
                Item(kind: "leftover", name: $0.name, diskUsage: $0.size, reason: $0.reason.rawValue)
            }
        return (items, try dryRun || waiting.finish(store, self.store))
    }
}
