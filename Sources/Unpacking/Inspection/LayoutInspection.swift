internal import Kernel
internal import Layout
package import OCI
package import SystemPackage

/// The images of a layout that a choice selects, and what else the layout has.
package struct LayoutInspection {
    /// What `index.json` or an index in it references.
    package struct Item {
        package enum Content {
            case image
            /// An index with its items.
            case index([Item])
            /// Anything else, as a noun phrase.
            case other(String)
        }

        package let descriptor: Descriptor
        package let content: Content
    }

    private let layout: ImageLayout
    private let candidates: [Candidate]
    private let outline: [LayoutOutline]
    /// Whether the user has selected images: other documents are then left out.
    private let isChosen: Bool

    package init(_ choice: ImageChoice) throws(UnpackError) {
        let layout = try attempt { try ImageLayout(opening: choice.source) }
        let isChosen = choice.selector.selectsAnything
        (candidates, outline) = try attempt {
            (try isChosen ? layout.matches(for: choice.selector) : layout.candidates(), try layout.outline())
        }
        if candidates.isEmpty {
            throw UnpackError(outline.firstFailure ?? .noImage(layout.path))
        }
        self.layout = layout
        self.isChosen = isChosen
    }

    package var path: FilePath { layout.path }

    /// The references of the images, sorted.
    package var references: [String] { Set(candidates.flatMap(\.references)).sorted() }

    /// The number of images.
    package var count: Int { candidates.count }

    /// Calls `body` with each image, and the bytes of its manifest and config. Only one config is in memory at a time.
    ///
    /// - Parameter isUnpacked: whether the store has a chain; nil if the store cannot be read.
    /// - Throws: why the first image cannot be read, if none can be; otherwise the document of each has the reason.
    package func forEachImage(
        isUnpacked: (ChainID) -> Bool?, _ body: (Descriptor, ImageDocument, _ size: Int64) throws -> Void
    ) throws {
        var failures = [LayoutFailure]()
        for candidate in candidates {
            var image: Image?
            var failure: LayoutFailure?
            do throws(LayoutFailure) {
                image = try layout.loadIfPresent(candidate.descriptor)
            } catch {
                failure = try layout.failureOfOneDocument(error)
            }
            let document = ImageDocument(candidate, image, failure, in: layout, isUnpacked: isUnpacked)
            let size = image.map { $0.descriptor.size + $0.manifest.config.size } ?? 0
            try body(candidate.descriptor, document, size)
            if let failure { failures.append(failure) }
        }
        if let failure = failures.first, failures.count == candidates.count { throw failure }
    }

    /// Reads the rest of a stream, so that its writer can finish.
    package func finish() throws(UnpackError) { try attempt { try layout.finish() } }

    /// The layout as a tree.
    package var items: [Item] {
        let chosen = Set(candidates.map(\.descriptor))
        return outline.compactMap { item($0, chosen) }
    }

    /// Documents that are not images; empty if the user has selected images.
    package var others: [OtherDocument] { isChosen ? [] : outline.flatMap(OtherDocument.all) }

    /// - Returns: nil for what the user has not selected.
    private func item(_ outlined: LayoutOutline, _ chosen: Set<Descriptor>) -> Item? {
        let descriptor = outlined.descriptor
        let other: String
        switch outlined.kind {
        case .image: return chosen.contains(descriptor) ? Item(descriptor: descriptor, content: .image) : nil
        case .index(let items?):
            let children = items.compactMap { item($0, chosen) }
            if children.isEmpty, isChosen { return nil }
            return Item(descriptor: descriptor, content: .index(children))
        case .attestation: other = "attestation"
        case .artifact(let type): other = "artifact \(escaped(type.utf8))"
        case .absent: other = "manifest, not in this layout"
        case .unreadable(let failure):
            let kind = descriptor.mediaType.isIndex ? "index" : "manifest"
            other = "\(kind), cannot be read (\(UnpackError(failure).message))"
        case .repeated: other = "index, as above"
        case .index(nil): other = "index, not in this layout"
        }
        return isChosen ? nil : Item(descriptor: descriptor, content: .other(other))
    }
}

/// A document of a layout that is not an image.
package struct OtherDocument: Encodable {
    let kind: String
    let names: [String]
    let digest: Digest
    let mediaType: MediaType
    let size: Int64
    let artifactType: String?
    let annotations: [String: String]?
    /// Why the document cannot be read.
    let error: String?

    fileprivate static func all(_ item: LayoutOutline) -> [OtherDocument] {
        switch item.kind {
        case .image, .repeated: []
        case .index(nil): [OtherDocument("index", item.descriptor)]
        case .index(let items?): items.flatMap(all)
        case .attestation: [OtherDocument("attestation", item.descriptor)]
        case .artifact(let type): [OtherDocument("artifact", item.descriptor, type: type)]
        case .absent: [OtherDocument("manifest", item.descriptor)]
        case .unreadable(let failure):
            [
                OtherDocument(
                    item.descriptor.mediaType.isIndex ? "index" : "manifest", item.descriptor,
                    error: UnpackError(failure).message)
            ]
        }
    }

    private init(_ kind: String, _ descriptor: Descriptor, type: String? = nil, error: String? = nil) {
        self.kind = kind
        names = descriptor.referenceNames
        digest = descriptor.digest
        mediaType = descriptor.mediaType
        size = descriptor.size
        artifactType = type
        annotations = descriptor.annotations
        self.error = error
    }
}

package struct ImageDocument: Encodable {
    package let names: [String]
    package let digest: Digest
    package let mediaType: MediaType
    package let size: Int64
    package let platform: String
    /// Whether the layout has its manifest and config.
    package let present: Bool
    package let created: String?
    package let configDigest: Digest?
    package let chainID: ChainID?
    /// Whether the store has all its layers; nil if the store cannot be read.
    package let unpacked: Bool?
    package let layers: [LayerDocument]
    /// The history, if its steps cannot be attributed to layers: their number is not that of the layers.
    package let history: [HistoryDocument]?
    package let config: JSONValue?
    /// Why the image cannot be read.
    package let error: String?
}

package struct LayerDocument: Encodable {
    package let digest: Digest
    package let mediaType: MediaType
    package let size: Int64
    package let diffID: DiffID
    package let chainID: ChainID
    /// Whether the layout has the blob, with the size of its descriptor.
    package let present: Bool
    package let createdBy: String?
    /// According to the media type: `gzip`, `zstd` or `none`. Unpacking detects the format from the blob itself.
    package let compression: String
    /// Whether the store has the chain up to this layer; nil if the store cannot be read.
    package let unpacked: Bool?
}

extension ImageDocument {
    /// - Parameters:
    ///   - image: nil if it is missing from the layout or cannot be read.
    ///   - failure: why it cannot be read.
    ///   - isUnpacked: whether the store has a chain; nil if the store cannot be read.
    init(
        _ candidate: Candidate, _ image: Image?, _ failure: LayoutFailure?, in layout: ImageLayout,
        isUnpacked: (ChainID) -> Bool?
    ) {
        names = candidate.references
        digest = candidate.descriptor.digest
        mediaType = candidate.descriptor.mediaType
        size = candidate.descriptor.size
        platform = candidate.platform.description
        error = failure.map { UnpackError($0).message }
        guard let image else {
            present = false
            created = nil
            configDigest = nil
            chainID = nil
            unpacked = nil
            layers = []
            history = nil
            config = nil
            return
        }
        present = true
        created = image.config.created
        configDigest = image.manifest.config.digest
        chainID = image.steps.last?.chainID
        unpacked = chainID.flatMap(isUnpacked)
        config = image.config.runtimeSettings
        history = HistoryDocument.list(of: image.config)
        let steps = image.manifest.layers.isEmpty ? [] : image.steps
        layers = steps.map { step in
            LayerDocument(
                digest: step.descriptor.digest, mediaType: step.descriptor.mediaType,
                size: step.descriptor.size,
                diffID: step.diffID, chainID: step.chainID,
                present: (try? layout.check(step.descriptor)) != nil,
                createdBy: image.config.command(ofLayer: step.number),
                compression: step.descriptor.mediaType.compression, unpacked: isUnpacked(step.chainID))
        }
    }
}

extension MediaType {
    fileprivate var compression: String {
        ["gzip", "zstd"].first { rawValue.hasSuffix($0) } ?? "none"
    }
}
