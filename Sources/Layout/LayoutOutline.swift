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
    }

    package let descriptor: Descriptor
    package let kind: Kind
}

extension ImageLayout {
    /// Everything that `index.json` leads to, attestations and other artifacts too.
    ///
    /// - Throws: as `candidates`, and for as much as they do.
    package func outline() throws(LayoutFailure) -> [LayoutOutline] {
        // That has counted what there is.
        let platforms = Dictionary(try candidates().map { ($0.descriptor.digest, $0.platform) }) { first, _ in
            first
        }
        var known = Set<Digest>()
        return try outline(of: index, platforms, &known)
    }

    private func outline(
        of index: ImageIndex, _ platforms: [Digest: Platform], _ known: inout Set<Digest>
    ) throws(LayoutFailure) -> [LayoutOutline] {
        var list = [LayoutOutline]()
        for descriptor in index.manifests {
            list.append(
                LayoutOutline(descriptor: descriptor, kind: try kind(of: descriptor, platforms, &known)))
        }
        return list
    }

    private func kind(
        of descriptor: Descriptor, _ platforms: [Digest: Platform], _ known: inout Set<Digest>
    ) throws(LayoutFailure) -> LayoutOutline.Kind {
        if descriptor.isAttestation { return .attestation }
        if descriptor.mediaType.isIndex {
            guard known.insert(descriptor.digest).inserted else { return .repeated }
            guard let index = try present(descriptor, readIndex) else { return .index(nil) }
            return .index(try outline(of: index, platforms, &known))
        }
        guard descriptor.mediaType.isManifest else {
            return .artifact(type: descriptor.artifactType ?? descriptor.mediaType.rawValue)
        }
        if let platform = platforms[descriptor.digest] { return .image(platform) }
        guard let manifest = try present(descriptor, readManifest) else { return .absent }
        return .artifact(type: descriptor.artifactType ?? manifest.config.mediaType.rawValue)
    }
}
