internal import ArgumentParser
internal import OCI
internal import Programs
internal import Snapshots
internal import Unpacking

struct ImagesCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "images", abstract: "List the images that were unpacked into the store, oldest first.")

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogFormatOption

    @Flag(help: "Print one JSON document.")
    var json = false

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
        if json { return try printResult(try attempt { try encoded(images.map(ImageListing.init)) }) }
        let rows = images.map { image, size in
            [
                image.reference ?? "-", image.manifest.description, image.platform.description,
                "\(image.layers.count)", binarySize(size),
            ]
        }
        try printResult(Table(["REFERENCE", "DIGEST", "PLATFORM", "LAYERS", "SIZE"], rows).text)
    }
}

private struct ImageListing: Encodable {
    let reference: String?
    let digest: Digest
    let mediaType: MediaType
    let platform: String
    let chainID: ChainID
    /// Bytes on disk of all its layers.
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
