package import OCI

/// The nested content of a layout's `index.json`.
package struct LayoutOutline: Sendable {
    package enum Kind: Sendable {
        /// An index and its entries; nil if the layout does not contain the index.
        case index([LayoutOutline]?)
        /// An index that already occurs earlier in the outline.
        case repeated
        /// A runnable image.
        case image(Platform)
        /// An attestation manifest, as added by BuildKit.
        case attestation
        /// Any other artifact: a signature, a bill of materials, a chart.
        case artifact(type: String)
        /// A manifest that the layout does not contain and whose platform no index declares.
        case absent
        /// A manifest or index that cannot be read, so that its kind is unknown.
        case unreadable(LayoutFailure)
    }

    package let descriptor: Descriptor
    package let kind: Kind

    /// The failure of this document or of the first one below it that cannot be read; nil if all can be read.
    package var failure: LayoutFailure? {
        switch kind {
        case .unreadable(let failure): failure
        case .index(nil), .absent: .blobMissing(descriptor.digest)
        case .index(let items?): items.firstFailure
        case .image, .repeated, .attestation, .artifact: nil
        }
    }
}

extension [LayoutOutline] {
    /// The failure of the first document that cannot be read; nil if all can be read.
    package var firstFailure: LayoutFailure? {
        // Not `lazy.compactMap(…).first`, which evaluates an element twice: that doubles the time with each level.
        for item in self {
            if let failure = item.failure { return failure }
        }
        return nil
    }
}

extension ImageLayout {
    /// The outline of everything that `index.json` references, including attestations and other artifacts.
    ///
    /// - Throws: as `candidates`, and for the same limits.
    package func outline() throws(LayoutFailure) -> [LayoutOutline] {
        // The walk enforces the limits.
        let walk = try IndexWalk(of: self)
        var outliner = Outliner(
            layout: self,
            platforms: Dictionary(walk.candidates.map { ($0.descriptor.digest, $0.platform) }) { first, _ in
                first
            },
            failures: walk.failures)
        return try outliner.outline(of: index)
    }
}

private struct Outliner {
    let layout: ImageLayout
    let platforms: [Digest: Platform]
    let failures: [Digest: LayoutFailure]
    /// Indexes that are already part of the outline.
    private var outlined = Set<Digest>()
    /// Indexes around the one that is being outlined.
    private var depth = 0

    /// An outline nests as its indexes do, so that every function over it recurses. Images have one index in another,
    /// and `IndexWalk`, which selection uses, does not recurse.
    private static let maximumDepth = 64

    init(layout: ImageLayout, platforms: [Digest: Platform], failures: [Digest: LayoutFailure]) {
        self.layout = layout
        self.platforms = platforms
        self.failures = failures
    }

    mutating func outline(of index: ImageIndex) throws(LayoutFailure) -> [LayoutOutline] {
        var list = [LayoutOutline]()
        for descriptor in index.manifests {
            list.append(LayoutOutline(descriptor: descriptor, kind: try kind(of: descriptor)))
        }
        return list
    }

    private mutating func kind(of descriptor: Descriptor) throws(LayoutFailure) -> LayoutOutline.Kind {
        if descriptor.isAttestation { return .attestation }
        if descriptor.mediaType.isIndex {
            guard outlined.insert(descriptor.digest).inserted else { return .repeated }
            switch failures[descriptor.digest] {
            case nil:
                guard depth < Self.maximumDepth else {
                    return .unreadable(
                        .document(
                            name: "\(descriptor.digest)",
                            reason: "it is nested in more than \(Self.maximumDepth) indexes"))
                }
                depth += 1
                defer { depth -= 1 }
                return .index(try outline(of: layout.readIndex(descriptor)))
            case .blobMissing: return .index(nil)
            case let failure?: return .unreadable(failure)
            }
        }
        guard descriptor.mediaType.isManifest else {
            return .artifact(type: descriptor.artifactType ?? descriptor.mediaType.rawValue)
        }
        if let platform = platforms[descriptor.digest] { return .image(platform) }
        switch failures[descriptor.digest] {
        case nil:
            let type = try layout.readManifest(descriptor).config.mediaType
            return .artifact(type: descriptor.artifactType ?? type.rawValue)
        case .blobMissing(descriptor.digest): return .absent
        case let failure?: return .unreadable(failure)
        }
    }
}
