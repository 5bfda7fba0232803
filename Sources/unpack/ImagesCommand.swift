internal import ArgumentParser
internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import Unpacking

struct ImagesCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "images", abstract: "List the images in the store, oldest first.")

    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    @Flag(name: [.customShort("q"), .long], help: "Print only the digests of the manifests, one per line.")
    var quiet = false

    @Flag(help: "Print complete digests.")
    var noTrunc = false

    @OptionGroup var output: JSONOptions

    func run() throws {
        let images = try attempt { () throws -> [(ImageRecord, Int64)] in
            guard let store = try store.openIfExisting() else { return [] }
            return try store.images().map { image in
                // A layer that several images share counts for each of them. Another process may remove a layer
                // between the two queries.
                let sizes = try image.layers.map {
                    try store.verified($0.chainID).flatMap { try store.usageIfPresent(of: $0.name)?.size }
                        ?? 0
                }
                return (image, sizes.reduce(0, +))
            }
        }
        if output.isJSON {
            return try printResult(try attempt { try encoded(images.map(ImageListing.init)) })
        }
        if quiet {
            if images.isEmpty { return }
            return try printResult(images.map { $0.0.manifest.description }.joined(separator: "\n"))
        }
        let now = Process.nanosecondsSinceEpoch()
        let rows = images.flatMap { image, size in
            (image.names.isEmpty ? ["-"] : image.names).map { name in
                [
                    name, shown(image.manifest), shown(image.topChain.digest), image.platform.description,
                    "\(image.layers.count)", decimalSize(size), Age(of: image.created ?? now, at: now).text,
                    Age(of: image.used ?? now, at: now).text,
                ]
            }
        }
        try printResult(
            Table(["NAME", "DIGEST", "CHAIN ID", "PLATFORM", "LAYERS", "SIZE", "CREATED", "LAST USED"], rows)
                .text)
    }

    private func shown(_ digest: Digest) -> String { noTrunc ? digest.description : digest.shortHex }
}

extension Digest {
    /// The first twelve hex digits, which are enough to name it.
    fileprivate var shortHex: String { String(description.drop { $0 != ":" }.dropFirst().prefix(12)) }
}

/// How long ago something was, in its largest unit: `5 minutes ago`.
private struct Age {
    let text: String

    /// - Parameters:
    ///   - date, now: in nanoseconds since 1970.
    init(of date: SnapshotInfo.Date, at now: SnapshotInfo.Date) {
        let seconds = max(0, (now - date) / 1_000_000_000)
        let units: [(name: String, seconds: Int64)] = [
            ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1),
        ]
        guard let unit = units.first(where: { seconds >= $0.seconds }) else {
            text = "now"
            return
        }
        let count = seconds / unit.seconds
        text = "\(count) \(unit.name)\(count == 1 ? "" : "s") ago"
    }
}

private struct ImageListing: Encodable {
    /// Sorted.
    let names: [String]
    let digest: Digest
    let mediaType: MediaType
    let platform: String
    let chainID: ChainID
    /// When it was first unpacked (RFC 3339).
    let created: String?
    /// When it was last unpacked or mounted, to the minute.
    let lastUsed: String?
    /// Bytes on the disk of all its layers.
    let diskUsage: Int64
    let layers: [Layer]

    struct Layer: Encodable {
        let digest: Digest
        let diffID: DiffID
        let chainID: ChainID
        /// Bytes of the blob, as in its descriptor.
        let size: Int64
    }

    init(_ image: ImageRecord, diskUsage: Int64) {
        names = image.names
        created = image.created.map { UTC(nanoseconds: $0).rfc3339 }
        lastUsed = image.used.map { UTC(nanoseconds: $0).rfc3339 }
        digest = image.manifest
        mediaType = image.mediaType
        platform = image.platform.description
        chainID = image.topChain
        self.diskUsage = diskUsage
        layers = image.layers.map {
            Layer(digest: $0.digest, diffID: $0.diffID, chainID: $0.chainID, size: $0.size)
        }
    }
}
