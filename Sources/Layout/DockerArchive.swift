internal import Compression
internal import Kernel
internal import OCI
internal import Streams

/// A `docker-archive`, as written by `docker save` before version 25, by default by `podman save`, and by Bazel and
/// crane. It contains no manifests, and for layers only diff IDs. The manifests and the digests of layers are
/// generated here, as a converter to an OCI layout would do.
struct DockerArchive: LayoutFiles {
    private let archive: ImageArchive
    private var ranges = [Digest: Range<Int64>]()
    /// Digests of members that were computed, by range.
    private var digests = [Range<Int64>: Digest]()
    /// Member names of the configs, as in `manifest.json`.
    private var configs = [Digest: String]()
    /// The errors of images that cannot be read, by the digest of their placeholder descriptors.
    private var failures = [Digest: LayoutFailure]()
    /// Total size of the configs read, in bytes.
    private var total: Int64 = 0
    private(set) var index = ImageIndex(manifests: [])

    /// - Throws: `.notALayout`, `.document`, `.unreadable`.
    init(_ archive: ImageArchive, _ documents: [UInt8]) throws(LayoutFailure) {
        self.archive = archive
        let items: [Result<DockerArchiveItem, DocumentError>]
        do {
            items = try DockerArchiveItem.parse(documents)
        } catch {
            throw .document(name: "manifest.json", reason: "\(error)")
        }
        var manifests = [Descriptor]()
        for (number, item) in items.enumerated() {
            let manifest = try manifest(number, item)
            let names = (try? item.get().names) ?? []
            manifests += names.isEmpty ? [manifest] : names.map { manifest.named(byDocker: $0) }
        }
        index = ImageIndex(manifests: manifests)
    }

    /// Creates the manifest descriptor of an item. If the item is invalid, a placeholder descriptor stands for it, so
    /// that the other images can be read; the placeholder has no content.
    private mutating func manifest(
        _ number: Int, _ item: Result<DockerArchiveItem, DocumentError>
    ) throws(LayoutFailure) -> Descriptor {
        let failure: LayoutFailure
        switch item {
        case .failure(let error): failure = .document(name: "manifest.json", reason: "\(error)")
        case .success(let item):
            do {
                return try manifest(of: item)
            } catch {
                failure = try archive.failureOfOneDocument(error)
            }
            if total > IndexWalk.largestTotal { throw failure }
        }
        let descriptor = Descriptor(describing: Array("manifest.json[\(number)]".utf8), .ociManifest)
        failures[descriptor.digest] = failure
        return descriptor
    }

    private mutating func manifest(of item: DockerArchiveItem) throws(LayoutFailure) -> Descriptor {
        // Duplicate members of this name are an error only when the image is used.
        let range = try range(of: item.config)
        guard range.count <= ImageLayout.largestDocument else {
            throw .documentTooLarge(
                name: item.config, size: Int64(range.count), limit: ImageLayout.largestDocument)
        }
        total += Int64(range.count)
        if total > IndexWalk.largestTotal {
            throw .document(
                name: "manifest.json",
                reason:
                    "it leads to more than \(IndexWalk.largestTotal) bytes of documents, which is the limit"
            )
        }
        let bytes = try archive.bytes(of: range)
        let config: ImageConfig
        do {
            config = try ImageConfig(parsing: bytes)
        } catch {
            throw .document(name: "config \(item.config.printable)", reason: "\(error)")
        }
        let diffIDs = config.rootfs.diffIDs
        guard diffIDs.count == item.layers.count else {
            throw .document(
                name: "manifest.json",
                reason: "it lists \(item.layers.count) layers, and the config has \(diffIDs.count) diff IDs")
        }
        var layers = [Descriptor]()
        for (name, diffID) in zip(item.layers, diffIDs) { layers.append(try layer(name, diffID)) }
        let descriptor = Descriptor(describing: bytes, .ociConfig)
        ranges[descriptor.digest] = range
        configs[descriptor.digest] = item.config
        let manifest = ImageManifest(config: descriptor, layers: layers).encoded
        return Descriptor(describing: manifest, .ociManifest, data: EmbeddedData(manifest))
    }

    /// Creates the descriptor of a layer. The digest of an uncompressed layer is its diff ID; a compressed layer is
    /// read once more to compute its digest.
    private mutating func layer(_ name: String, _ diffID: DiffID) throws(LayoutFailure) -> Descriptor {
        let range = try range(of: name)
        var start = [UInt8]()
        try archive.read(into: &start, limit: 512, at: range.lowerBound, of: range)
        // If the format is unknown, decompression reports it later.
        let format = (try? start.withRawSpan(CompressionFormat.init(sniffing:))) ?? .none
        // If another member has the same diff ID, at least one of them is wrong: the digest is computed.
        let isClaimed = ranges[diffID.digest].map { $0 != range } ?? false
        let digest = format == .none && !isClaimed ? diffID.digest : try self.digest(of: range)
        ranges[digest] = range
        return Descriptor(
            mediaType: .ociLayer(compression: format == .none ? nil : format.rawValue), digest: digest,
            size: Int64(range.count))
    }

    private mutating func digest(of range: Range<Int64>) throws(LayoutFailure) -> Digest {
        if let known = digests[range] { return known }
        var digester = Digester(.sha256)
        var chunk = [UInt8]()
        repeat {
            try archive.read(
                into: &chunk, limit: 1 << 18, at: range.lowerBound + digester.count, of: range)
            digester.update(chunk)
        } while !chunk.isEmpty
        let digest = digester.finish()
        digests[range] = digest
        return digest
    }

    /// - Parameter name: as written in `manifest.json`; empty and `.` components are dropped, as in the members'
    ///   names.
    private func range(of name: String, isDocument: Bool = false) throws(LayoutFailure) -> Range<Int64> {
        let path = name.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
        guard let range = try archive.range(of: path, isDocument: isDocument) else {
            throw .notALayout(
                archive.path, reason: "it has no '\(name.printable)', which its manifest.json lists")
        }
        return range
    }

    // MARK: LayoutFiles

    func document(_ name: String) throws(LayoutFailure) -> [UInt8]? { try archive.document(name) }

    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source {
        if let failure = failures[descriptor.digest] { throw failure }
        if let config = configs[descriptor.digest] {
            return try archive.source(try range(of: config, isDocument: true), descriptor)
        }
        guard let range = ranges[descriptor.digest] else { throw .blobMissing(descriptor.digest) }
        return try archive.source(range, descriptor)
    }

    func check(_ descriptor: Descriptor) throws(LayoutFailure) { _ = try open(descriptor) }

    func finish() throws(LayoutFailure) { try archive.finish() }

    func checkComplete() throws(LayoutFailure) { try archive.checkComplete() }
}

extension Descriptor {
    fileprivate init(describing bytes: [UInt8], _ mediaType: MediaType, data: EmbeddedData? = nil) {
        var digester = Digester(.sha256)
        digester.update(bytes)
        self.init(mediaType: mediaType, digest: digester.finish(), size: digester.count, data: data)
    }
}
