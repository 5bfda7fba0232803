package import OCI

/// What a layout's `index.json` lists, as it is nested.
package struct LayoutOutline: Sendable {
    package enum Kind: Sendable {
        /// With what it lists; nil where the layout does not hold it.
        case index([LayoutOutline]?)
        /// An index that was outlined before.
        case repeated
        /// Something to run.
        case image(Platform)
        /// A statement about another manifest, as BuildKit adds it.
        case attestation
        /// Anything else that somebody keeps in a layout: a signature, a bill of materials, a chart.
        case artifact(type: String)
        /// A manifest that the layout does not hold, of which no index says what it is for.
        case absent
        /// A manifest or an index that cannot be read, so that it is not known what it is.
        case unreadable(LayoutFailure)
    }

    package let descriptor: Descriptor
    package let kind: Kind

    /// Why the document, or the first one below it, cannot be read; nil if all can be.
    package var failure: LayoutFailure? {
        switch kind {
        case .unreadable(let failure): failure
        case .index(nil), .absent: .blobMissing(descriptor.digest)
        case .index(let items?): items.lazy.compactMap(\.failure).first
        case .image, .repeated, .attestation, .artifact: nil
        }
    }
}

extension ImageLayout {
    /// Everything that `index.json` leads to, attestations and other artifacts too.
    ///
    /// - Throws: as `candidates`, and for as much as they do.
    package func outline() throws(LayoutFailure) -> [LayoutOutline] {
        // That has counted what there is.
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
    /// Indexes that were outlined.
    private var known = Set<Digest>()

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
            guard known.insert(descriptor.digest).inserted else { return .repeated }
            switch failures[descriptor.digest] {
            case nil: return .index(try outline(of: layout.readIndex(descriptor)))
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
