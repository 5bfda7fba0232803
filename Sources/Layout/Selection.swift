internal import Kernel
package import OCI

/// A manifest that may be chosen.
package struct Candidate: Sendable {
    /// Of the manifest.
    package let descriptor: Descriptor
    package let platform: Platform
    /// Of the indexes around it.
    private let around: Names
    /// The number of the index that lists it.
    let index: Int
    /// Why it cannot be read, so that its platform is not known; nil if it can.
    package let failure: LayoutFailure?
    /// The name by which it was chosen.
    private var chosenName: String?

    init(
        descriptor: Descriptor, platform: Platform, around: Names, index: Int, failure: LayoutFailure? = nil
    ) {
        self.descriptor = descriptor
        self.platform = platform
        self.around = around
        self.index = index
        self.failure = failure
    }

    /// The names that the layout gives it, directly or through an index around it.
    package var references: [String] {
        around.list + descriptor.referenceNames.filter { !around.contains($0) }
    }

    /// The name that it is known by afterwards: the one by which it was chosen, else the first.
    package var name: String? { chosenName ?? references.first }

    func isCalled(_ reference: String) -> Bool {
        around.contains(reference) || descriptor.referenceNames.contains(reference)
    }

    fileprivate func chosen(by name: String?) -> Candidate {
        var candidate = self
        candidate.chosenName = name
        return candidate
    }
}

extension ImageLayout {
    /// Every image manifest that `index.json` leads to. Attestations and other artifacts are left out, and so is what the
    /// layout does not hold or what cannot be read, unless the index says for what platform it is.
    ///
    /// - Throws: `.document` for more than is read of a layout.
    package func candidates() throws(LayoutFailure) -> [Candidate] { try IndexWalk(of: self).candidates }

    /// As `load`; nil if the manifest or the config is not in the layout.
    package func loadIfPresent(_ descriptor: Descriptor) throws(LayoutFailure) -> Image? {
        do {
            return try load(descriptor)
        } catch {
            if case .blobMissing = error { return nil }
            throw error
        }
    }

    /// What is read, or what is wrong with that alone.
    ///
    /// - Throws: what is wrong with all of the layout.
    func attempt<Value>(
        _ descriptor: Descriptor, _ read: (Descriptor) throws(LayoutFailure) -> Value
    ) throws(LayoutFailure) -> Result<Value, LayoutFailure> {
        do {
            return .success(try read(descriptor))
        } catch {
            return .failure(try localFailure(error))
        }
    }

    /// All manifests that fit, of each image the platform that fits best.
    ///
    /// - Throws: `.noImage`, `.noReference`, `.noDigest`, `.noPosition`, `.noPlatform`; instead of these, why a document cannot be
    ///   read that was chosen.
    package func fitting(
        _ selector: Selector, on machine: Platform = .machine
    ) throws(LayoutFailure) -> [Candidate] {
        try match(selector, on: machine).fitting
    }

    private struct Match {
        let fitting: [Candidate]
        /// Chosen documents that are damaged: each may be an image for any platform.
        let damaged: [Candidate]
    }

    private func match(_ selector: Selector, on machine: Platform) throws(LayoutFailure) -> Match {
        let walk = try IndexWalk(of: self)
        let chosen = try choose(selector, from: walk)
        let images = chosen.filter { $0.failure == nil }
        let wanted = selector.platform ?? machine
        let ranked = images.compactMap { candidate in
            wanted.distance(to: candidate.platform, mayExceed: selector.platform != nil).map {
                (candidate, $0)
            }
        }
        if ranked.isEmpty {
            // What a sparse layout does not hold matters only if it was asked for, or if there is nothing else.
            let failures = chosen.compactMap(\.failure)
            let failure = failures.first {
                selector.isOneImage || images.isEmpty || !$0.isMissingBlob
            }
            throw failure ?? .noPlatform(wanted, candidates: images)
        }
        return Match(
            fitting: Self.best(of: ranked, areOneImage: selector.isOneImage),
            damaged: chosen.filter { $0.failure?.isDamage == true })
    }

    /// Those that a selector names, whether they can be read or not.
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
            // What it is called elsewhere in the index was not chosen.
            if let name = entry.referenceNames.first { chosen = chosen.map { $0.chosen(by: name) } }
        }
        if let digest = selector.digest { chosen = try within(digest, of: chosen, walk) }
        if let reference = selector.reference {
            // The short form of a name goes for the full one too, as Docker has it.
            let name = [reference, DockerReference.normalized(reference)].first { name in
                chosen.contains { $0.isCalled(name) }
            }
            guard let name else { throw .noReference(reference, candidates: walk.candidates) }
            chosen = chosen.filter { $0.isCalled(name) }.map { $0.chosen(by: reference) }
        }
        return chosen
    }

    /// Those that have a digest, or that an index with the digest leads to.
    private func within(
        _ digest: Digest, of candidates: [Candidate], _ walk: IndexWalk
    ) throws(LayoutFailure) -> [Candidate] {
        let nodes = walk.nodes(in: digest)
        let found = candidates.filter { nodes.contains($0.index) || $0.descriptor.digest == digest }
        if found.isEmpty { throw .noDigest(digest, candidates: walk.candidates) }
        return found
    }

    /// Images of different names are different images: of each the nearest, that the user may choose among them.
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

    /// The one manifest that fits.
    ///
    /// - Throws: as `fitting`, and `.ambiguous` with all that fit.
    package func select(_ selector: Selector) throws(LayoutFailure) -> Candidate {
        let match = try match(selector, on: .machine)
        // What is damaged is another image, unless it has the name that was asked for.
        let fitting = match.fitting + (selector.isOneImage ? [] : match.damaged)
        guard let first = fitting.first else { throw .noImage(path) }
        if fitting.allSatisfy({ $0.descriptor.digest == first.descriptor.digest }) { return first }
        guard let image = try oneImage(of: fitting, selector) else { throw .ambiguous(fitting) }
        return image
    }

    /// Manifests with the same config are the same image, in layers of another compression for example. The first of which all
    /// blobs are there is taken (OCI image spec, image-index.md: the first that matches). Artifacts, and manifests that a sparse
    /// layout does not hold, are no images among them.
    ///
    /// - Returns: nil for several images.
    private func oneImage(
        of candidates: [Candidate], _ selector: Selector
    ) throws(LayoutFailure) -> Candidate? {
        var images = [(candidate: Candidate, config: Digest)]()
        for candidate in candidates {
            switch try attempt(candidate.descriptor, readManifest) {
            case .success(let manifest) where manifest.config.mediaType.isConfig:
                images.append((candidate, manifest.config.digest))
            case .failure(let failure) where failure.isDamage && !selector.isOneImage: return nil
            case .success, .failure: continue
            }
        }
        guard let first = images.first, images.allSatisfy({ $0.config == first.config }) else { return nil }
        for (candidate, _) in images where try isWhole(candidate) { return candidate }
        return first.candidate
    }

    private func isWhole(_ candidate: Candidate) throws(LayoutFailure) -> Bool {
        let result = try attempt(candidate.descriptor) { descriptor throws(LayoutFailure) in
            for step in try load(descriptor).steps { try check(step.descriptor) }
        }
        if case .success = result { return true }
        return false
    }
}

extension Platform {
    /// This machine's, with its level.
    package static let machine: Platform =
        host.architecture == "amd64"
        ? Platform(os: host.os, architecture: host.architecture, variant: "v\(Processor.level)") : host
}
