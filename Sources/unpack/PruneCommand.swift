internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct PruneCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Remove layers that no image needs, and leftovers of crashed runs.",
        discussion: """
            Keeps everything that an image, a writable snapshot, a view or a running unpack needs, and everything that was \
            created with `unpack snapshot` or by a service.

            \(WaitOptions.discussion)
            """)

    @Flag(help: "Print what would be removed, and remove nothing.")
    var dryRun = false

    @OptionGroup var waiting: WaitOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogFormatOption

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
            return try printResult(
                try attempt { try encoded(Document(dryRun: dryRun, bytes: bytes, items: items)) })
        }
        let rows = items.map { [$0.name, binarySize($0.bytes), $0.reason] }
        if rows.isEmpty { return try printResult("nothing to remove") }
        try printResult(Table(["NAME", "SIZE", "REASON"], rows).text)
        try printResult(
            "\(binarySize(bytes)) \(dryRun ? "would be freed" : isDeleted ? "freed" : "being freed")")
    }

    private func prune(_ store: SnapshotStore) throws -> (items: [Item], isDeleted: Bool) {
        let plan = try store.prunable()
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
