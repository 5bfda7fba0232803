package import OCI

/// A manifest that may be chosen.
package struct Candidate: Sendable {
    /// Of the manifest.
    package let descriptor: Descriptor
    /// The names that the layout gives it, directly or through an index around it.
    package private(set) var references: [String]
    /// Nil only where neither the index nor the config tells.
    package let platform: Platform?
    /// Digests of the indexes on the way to it.
    private(set) var indexes: [Digest]

    init(descriptor: Descriptor, references: [String], platform: Platform?, indexes: [Digest]) {
        self.descriptor = descriptor
        self.references = references
        self.platform = platform
        self.indexes = indexes
    }

    /// Another way to it.
    mutating func add(references others: [String], indexes ways: [Digest]) {
        references += others.filter { !references.contains($0) }
        indexes += ways.filter { !indexes.contains($0) }
    }
}

/// What the user chose by; nil is no choice.
package struct Selector: Sendable {
    package let reference: String?
    /// Of a manifest, or of an index that holds it.
    package let digest: Digest?
    /// Nil is the host's.
    package let platform: Platform?

    package init(reference: String? = nil, digest: Digest? = nil, platform: Platform? = nil) {
        self.reference = reference
        self.digest = digest
        self.platform = platform
    }
}

extension ImageLayout {
    /// Every image manifest that `index.json` leads to. Attestations and other artifacts are left out, and so
    /// is what a sparse layout does not hold.
    ///
    /// - Throws: `.wrongDigest` and the like for a document that is there and damaged.
    package func candidates() throws(LayoutFailure) -> [Candidate] {
        var found = [Candidate]()
        var seen = Set<Digest>()
        try collect(index, references: [], indexes: [], into: &found, seen: &seen)
        return found
    }

    private func collect(
        _ index: ImageIndex, references: [String], indexes: [Digest], into found: inout [Candidate],
        seen: inout Set<Digest>
    ) throws(LayoutFailure) {
        for descriptor in index.manifests where !descriptor.isAttestation {
            let references = references + descriptor.referenceNames.filter { !references.contains($0) }
            if descriptor.mediaType.isIndex {
                // A graph, not a tree: each digest once, so that a cycle of indexes ends.
                guard seen.insert(descriptor.digest).inserted else {
                    // An image of several tags: what is in this index is known, but not by these names.
                    for position in found.indices where found[position].indexes.contains(descriptor.digest) {
                        found[position].add(references: references, indexes: indexes)
                    }
                    continue
                }
                guard let nested = try present(descriptor, readIndex) else { continue }
                try collect(
                    nested, references: references, indexes: indexes + [descriptor.digest], into: &found,
                    seen: &seen)
            } else if descriptor.mediaType.isManifest {
                guard let platform = try platform(of: descriptor) else { continue }
                found.append(
                    Candidate(
                        descriptor: descriptor, references: references, platform: platform, indexes: indexes))
            }
        }
    }

    /// The index's word, else the config's. Nil for an artifact, and for a manifest that the layout does not
    /// hold.
    private func platform(of descriptor: Descriptor) throws(LayoutFailure) -> Platform? {
        if let platform = descriptor.platform { return platform }
        guard let manifest = try present(descriptor, readManifest), manifest.config.mediaType.isConfig
        else { return nil }
        return try present(manifest.config, readConfig)?.platform
    }

    /// As `load`; nil if the manifest or the config is not in the layout.
    package func loadIfPresent(_ descriptor: Descriptor) throws(LayoutFailure) -> Image? {
        try present(descriptor, load)
    }

    private func present<Value>(
        _ descriptor: Descriptor, _ read: (Descriptor) throws(LayoutFailure) -> Value
    ) throws(LayoutFailure) -> Value? {
        do {
            return try read(descriptor)
        } catch {
            if case .blobMissing = error { return nil }
            throw error
        }
    }

    /// All manifests that fit; variants that fit exactly go before those that merely run.
    ///
    /// - Throws: `.noImage`, `.noReference`, `.noDigest`, `.noPlatform`.
    package func fitting(_ selector: Selector) throws(LayoutFailure) -> [Candidate] {
        let all = try candidates()
        if all.isEmpty { throw .noImage(path) }
        var fitting = all
        if let reference = selector.reference {
            fitting = fitting.filter { $0.references.contains(reference) }
            if fitting.isEmpty { throw .noReference(reference, candidates: all) }
        }
        if let digest = selector.digest {
            fitting = fitting.filter { $0.descriptor.digest == digest || $0.indexes.contains(digest) }
            if fitting.isEmpty { throw .noDigest(digest, candidates: all) }
        }
        let wanted = selector.platform ?? .host
        let running = fitting.filter { $0.platform.map(wanted.accepts) ?? false }
        if running.isEmpty { throw .noPlatform(wanted, candidates: fitting) }
        let exact = running.filter { $0.platform == wanted }
        return exact.isEmpty ? running : exact
    }

    /// The one manifest that fits.
    ///
    /// - Throws: as `fitting`, and `.ambiguous` with all that fit.
    package func select(_ selector: Selector) throws(LayoutFailure) -> Candidate {
        let fitting = try fitting(selector)
        guard let first = fitting.first,
            fitting.allSatisfy({ $0.descriptor.digest == first.descriptor.digest })
        else {
            throw .ambiguous(fitting)
        }
        return first
    }
}
