internal import Kernel
package import OCI

/// A manifest that can be selected.
package struct Candidate: Sendable {
    /// Descriptor of the manifest.
    package let descriptor: Descriptor
    package let platform: Platform
    /// Names of the indexes that contain the manifest.
    private let inheritedNames: Names
    /// Number of the walk's node that lists the manifest.
    let index: Int
    /// The failure if the manifest cannot be read and its platform is unknown; nil otherwise.
    package let failure: LayoutFailure?
    /// The name that it was selected by.
    private var chosenName: String?

    init(
        descriptor: Descriptor, platform: Platform, inheritedNames: Names, index: Int,
        failure: LayoutFailure? = nil
    ) {
        self.descriptor = descriptor
        self.platform = platform
        self.inheritedNames = inheritedNames
        self.index = index
        self.failure = failure
    }

    /// The names that the layout gives the manifest, directly or through an index that contains it.
    package var references: [String] {
        inheritedNames.list + descriptor.referenceNames.filter { !inheritedNames.contains($0) }
    }

    /// The name for results and messages: the one that it was selected by, or else the first.
    package var name: String? { chosenName ?? references.first }

    func hasName(_ reference: String) -> Bool {
        inheritedNames.contains(reference) || descriptor.referenceNames.contains(reference)
    }

    fileprivate func chosen(by name: String?) -> Candidate {
        var candidate = self
        candidate.chosenName = name
        return candidate
    }
}

extension ImageLayout {
    /// Lists every image manifest that `index.json` references. Attestations, other artifacts, and missing or
    /// unreadable manifests are left out, unless an index declares their platform.
    ///
    /// - Throws: `.document` if the layout exceeds a limit of the walk.
    package func candidates() throws(LayoutFailure) -> [Candidate] { try IndexWalk(of: self).candidates }

    /// Like `load`, but returns nil if the manifest or the config is missing from the layout.
    package func loadIfPresent(_ descriptor: Descriptor) throws(LayoutFailure) -> Image? {
        do {
            return try load(descriptor)
        } catch {
            if case .blobMissing = error { return nil }
            throw error
        }
    }

    /// Runs `read`, and returns its result or a failure that concerns this document only.
    ///
    /// - Throws: a failure that concerns the whole layout.
    func attempt<Value>(
        _ descriptor: Descriptor, _ read: (Descriptor) throws(LayoutFailure) -> Value
    ) throws(LayoutFailure) -> Result<Value, LayoutFailure> {
        do {
            return .success(try read(descriptor))
        } catch {
            return .failure(try failureOfOneDocument(error))
        }
    }

    /// Returns all manifests that match, and of each image only those with the best matching platform.
    ///
    /// - Throws: `.noImage`, `.noReference`, `.noDigest`, `.noPosition`, `.noPlatform`; if a selected document cannot
    ///   be read, that failure instead of these.
    package func matches(
        for selector: Selector, on machine: Platform = .machine
    ) throws(LayoutFailure) -> [Candidate] {
        try match(selector, on: machine).fitting
    }

    private struct Match {
        let fitting: [Candidate]
        /// Selected documents that are damaged: each may be an image for any platform.
        let damaged: [Candidate]
    }

    private func match(_ selector: Selector, on machine: Platform) throws(LayoutFailure) -> Match {
        let walk = try IndexWalk(of: self)
        let chosen = try choose(selector, from: walk)
        let images = chosen.filter { $0.failure == nil }
        let wanted = selector.platform ?? machine
        let ranked = images.compactMap { candidate in
            wanted.distance(to: candidate.platform, allowsHigherLevels: selector.platform != nil).map {
                (candidate, $0)
            }
        }
        if ranked.isEmpty {
            // A document missing from a sparse layout is an error only if it was requested, or if there are no
            // images.
            let failures = chosen.compactMap(\.failure)
            let failure = failures.first {
                selector.namesImage || images.isEmpty || !$0.isMissingBlob
            }
            throw failure ?? .noPlatform(wanted, candidates: images)
        }
        return Match(
            fitting: Self.best(of: ranked, areOneImage: selector.namesImage),
            damaged: chosen.filter { $0.failure?.isDamage == true })
    }

    /// The manifests that a selector names, readable or not.
    private func choose(_ selector: Selector, from walk: IndexWalk) throws(LayoutFailure) -> [Candidate] {
        let all = walk.candidates + walk.unreadable
        if all.isEmpty { throw .noImage(path) }
        var chosen = all
        if let position = selector.position {
            guard index.manifests.indices.contains(position) else {
                throw .noPosition(position, count: index.manifests.count)
            }
            let entry = index.manifests[position]
            chosen = try within(entry.digest, of: chosen, walk)
            // The entry was selected, not one of its other names in the index.
            if let name = entry.referenceNames.first { chosen = chosen.map { $0.chosen(by: name) } }
        }
        if let digest = selector.digest { chosen = try within(digest, of: chosen, walk) }
        if let reference = selector.reference {
            // A short name also matches the full name, as in Docker.
            let name = [reference, DockerReference.normalized(reference)].first { name in
                chosen.contains { $0.hasName(name) }
            }
            guard let name else { throw .noReference(reference, candidates: walk.candidates) }
            chosen = chosen.filter { $0.hasName(name) }.map { $0.chosen(by: reference) }
        }
        return chosen
    }

    /// The candidates with a digest, or below an index with that digest.
    private func within(
        _ digest: Digest, of candidates: [Candidate], _ walk: IndexWalk
    ) throws(LayoutFailure) -> [Candidate] {
        let nodes = walk.nodes(in: digest)
        let found = candidates.filter { nodes.contains($0.index) || $0.descriptor.digest == digest }
        if found.isEmpty { throw .noDigest(digest, candidates: walk.candidates) }
        return found
    }

    /// Returns the best matches. Images with different names are different images: each keeps its nearest platform,
    /// and the user chooses among them.
    private static func best(
        of ranked: [(Candidate, distance: Platform.Distance)], areOneImage: Bool
    ) -> [Candidate] {
        func images(_ candidate: Candidate) -> [String?] {
            let references = areOneImage ? [] : candidate.references
            return references.isEmpty ? [nil] : references
        }
        var nearest = [String?: Platform.Distance]()
        for (candidate, distance) in ranked {
            for image in images(candidate) { nearest[image] = min(nearest[image] ?? distance, distance) }
        }
        return ranked.compactMap { candidate, distance in
            images(candidate).contains { nearest[$0] == distance } ? candidate : nil
        }
    }

    /// Returns the single manifest that matches.
    ///
    /// - Throws: as `fitting`, and `.ambiguous` with all manifests that match.
    package func select(_ selector: Selector) throws(LayoutFailure) -> Candidate {
        let match = try match(selector, on: .machine)
        // A damaged document counts as another image, unless the selector names an image.
        let fitting = match.fitting + (selector.namesImage ? [] : match.damaged)
        guard let first = fitting.first else { throw .noImage(path) }
        if fitting.allSatisfy({ $0.descriptor.digest == first.descriptor.digest }) { return first }
        guard let image = try oneImage(of: fitting, selector) else { throw .ambiguous(fitting) }
        return image
    }

    /// Manifests with the same config are the same image, for example with layers in another compression. The first
    /// one whose blobs are all present is selected (OCI image spec, image-index.md: the first that matches).
    /// Artifacts, and manifests missing from a sparse layout, are ignored.
    ///
    /// - Returns: nil if there are several images.
    private func oneImage(
        of candidates: [Candidate], _ selector: Selector
    ) throws(LayoutFailure) -> Candidate? {
        var images = [(candidate: Candidate, config: Digest)]()
        for candidate in candidates {
            switch try attempt(candidate.descriptor, readManifest) {
            case .success(let manifest) where manifest.config.mediaType.isConfig:
                images.append((candidate, manifest.config.digest))
            case .failure(let failure) where failure.isDamage && !selector.namesImage: return nil
            case .success, .failure: continue
            }
        }
        guard let first = images.first, images.allSatisfy({ $0.config == first.config }) else { return nil }
        for (candidate, _) in images where try hasAllBlobs(candidate) { return candidate }
        return first.candidate
    }

    private func hasAllBlobs(_ candidate: Candidate) throws(LayoutFailure) -> Bool {
        let result = try attempt(candidate.descriptor) { descriptor throws(LayoutFailure) in
            for step in try load(descriptor).steps { try check(step.descriptor) }
        }
        if case .success = result { return true }
        return false
    }
}

extension Platform {
    /// The platform of this machine, with its architecture level.
    package static let machine: Platform =
        host.architecture == "amd64"
        ? Platform(os: host.os, architecture: host.architecture, variant: "v\(Processor.level)") : host
}
