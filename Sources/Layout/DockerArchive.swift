internal import Compression
internal import Kernel
internal import OCI
internal import Streams

/// A `docker-archive`: what `docker save` wrote before version 25, `podman save` by default, and Bazel and crane. It has no
/// manifests, and its layers no digests but their diff IDs: both are made up here, as whoever converts it would.
struct DockerArchive: LayoutFiles {
    private let archive: ImageArchive
    private var places = [Digest: Range<Int64>]()
    /// Of members that were read for one.
    private var digests = [Range<Int64>: Digest]()
    /// The members that configs are, as `manifest.json` names them.
    private var configs = [Digest: String]()
    /// Why an image cannot be read, by the digest that stands for its manifest.
    private var failures = [Digest: LayoutFailure]()
    /// Bytes of configs that were read.
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

    /// One that cannot be made does not keep the other images from being read. What stands for it has no bytes.
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
                failure = try archive.localFailure(error)
            }
            if total > IndexWalk.largestTotal { throw failure }
        }
        let descriptor = Descriptor(describing: Array("manifest.json[\(number)]".utf8), .ociManifest)
        failures[descriptor.digest] = failure
        return descriptor
    }

    private mutating func manifest(of item: DockerArchiveItem) throws(LayoutFailure) -> Descriptor {
        // Which of several members counts matters once the image is asked for.
        let place = try place(of: item.config)
        guard place.count <= ImageLayout.largestDocument else {
            throw .documentTooLarge(
                name: item.config, size: Int64(place.count), limit: ImageLayout.largestDocument)
        }
        total += Int64(place.count)
        if total > IndexWalk.largestTotal {
            throw .document(
                name: "manifest.json",
                reason:
                    "it leads to more than \(IndexWalk.largestTotal) bytes of documents, which is the limit"
            )
        }
        let bytes = try archive.bytes(of: place)
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
        places[descriptor.digest] = place
        configs[descriptor.digest] = item.config
        let manifest = ImageManifest(config: descriptor, layers: layers).encoded
        return Descriptor(describing: manifest, .ociManifest, data: EmbeddedData(manifest))
    }

    /// A plain layer's digest is its diff ID; what somebody has compressed is read once more for one.
    private mutating func layer(_ name: String, _ diffID: DiffID) throws(LayoutFailure) -> Descriptor {
        let place = try place(of: name)
        var start = [UInt8]()
        try archive.read(into: &start, limit: 512, at: place.lowerBound, of: place)
        // What it is if it is nothing known, its unpacking tells.
        let format = (try? start.withRawSpan(CompressionFormat.init(sniffing:))) ?? .none
        // Where another member claims to be the same, one of them is not: each goes by what it is.
        let isClaimed = places[diffID.digest].map { $0 != place } ?? false
        let digest = format == .none && !isClaimed ? diffID.digest : try self.digest(of: place)
        places[digest] = place
        return Descriptor(
            mediaType: .ociLayer(compression: format == .none ? nil : format.rawValue), digest: digest,
            size: Int64(place.count))
    }

    private mutating func digest(of place: Range<Int64>) throws(LayoutFailure) -> Digest {
        if let known = digests[place] { return known }
        var digester = Digester(.sha256)
        var chunk = [UInt8]()
        repeat {
            try archive.read(
                into: &chunk, limit: 1 << 18, at: place.lowerBound + digester.count, of: place)
            digester.update(chunk)
        } while !chunk.isEmpty
        let digest = digester.finish()
        digests[place] = digest
        return digest
    }

    /// - Parameter name: as it is written; what of it says nothing is left out, as of the members' names.
    private func place(of name: String, isDocument: Bool = false) throws(LayoutFailure) -> Range<Int64> {
        let path = name.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
        guard let place = try archive.place(of: path, isDocument: isDocument) else {
            throw .notALayout(
                archive.path, reason: "it has no '\(name.printable)', which its manifest.json lists")
        }
        return place
    }

    // MARK: LayoutFiles

    func document(_ name: String) throws(LayoutFailure) -> [UInt8]? { try archive.document(name) }

    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source {
        if let failure = failures[descriptor.digest] { throw failure }
        if let config = configs[descriptor.digest] {
            return try archive.source(try place(of: config, isDocument: true), descriptor)
        }
        guard let place = places[descriptor.digest] else { throw .blobMissing(descriptor.digest) }
        return try archive.source(place, descriptor)
    }

    func check(_ descriptor: Descriptor) throws(LayoutFailure) { _ = try open(descriptor) }

    func finish() throws(LayoutFailure) { try archive.finish() }

    func checkWhole() throws(LayoutFailure) { try archive.checkWhole() }
}

extension Descriptor {
    fileprivate init(describing bytes: [UInt8], _ mediaType: MediaType, data: EmbeddedData? = nil) {
        var digester = Digester(.sha256)
        digester.update(bytes)
        self.init(mediaType: mediaType, digest: digester.finish(), size: digester.count, data: data)
    }
}
