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

    init(descriptor: Descriptor, platform: Platform, around: Names, index: Int) {
        self.descriptor = descriptor
        self.platform = platform
        self.around = around
        self.index = index
    }

    /// The names that the layout gives it, directly or through an index around it.
    package var references: [String] {
        around.list + descriptor.referenceNames.filter { !around.contains($0) }
    }

    func isCalled(_ reference: String) -> Bool {
        around.contains(reference) || descriptor.referenceNames.contains(reference)
    }
}

/// What the user chose by; nil is no choice.
package struct Selector: Sendable {
    package let reference: String?
    /// Of a manifest, or of an index that holds it.
    package let digest: Digest?
    /// The number of a descriptor in the index, from 0.
    package let position: Int?
    /// Nil is this machine's.
    package let platform: Platform?

    package init(
        reference: String? = nil, digest: Digest? = nil, position: Int? = nil, platform: Platform? = nil
    ) {
        self.reference = reference
        self.digest = digest
        self.position = position
        self.platform = platform
    }
}

extension Selector {
    /// Whether it names an image, not only a platform.
    fileprivate var isOneImage: Bool { reference != nil || digest != nil || position != nil }

    /// Whether anything was chosen.
    package var isChoice: Bool { isOneImage || platform != nil }
}

extension ImageLayout {
    /// Every image manifest that `index.json` leads to. Attestations and other artifacts are left out, and so
    /// is what a sparse layout does not hold.
    ///
    /// - Throws: `.wrongDigest` and the like for a document that is there and damaged.
    package func candidates() throws(LayoutFailure) -> [Candidate] { try IndexWalk(of: self).candidates }

    /// As `load`; nil if the manifest or the config is not in the layout.
    package func loadIfPresent(_ descriptor: Descriptor) throws(LayoutFailure) -> Image? {
        try present(descriptor, load)
    }

    func present<Value>(
        _ descriptor: Descriptor, _ read: (Descriptor) throws(LayoutFailure) -> Value
    ) throws(LayoutFailure) -> Value? {
        do {
            return try read(descriptor)
        } catch {
            if case .blobMissing = error { return nil }
            throw error
        }
    }

    /// All manifests that fit, of each image the platform that fits best.
    ///
    /// - Throws: `.noImage`, `.noReference`, `.noDigest`, `.noPosition`, `.noPlatform`.
    package func fitting(
        _ selector: Selector, on machine: Platform = .machine
    ) throws(LayoutFailure) -> [Candidate] {
        let walk = try IndexWalk(of: self)
        let all = walk.candidates
        if all.isEmpty { throw .noImage(path) }
        var fitting = all
        if let position = selector.position, !index.manifests.indices.contains(position) {
            throw .noPosition(position, count: index.manifests.count)
        }
        for digest in [selector.digest, selector.position.map { index.manifests[$0].digest }] {
            guard let digest else { continue }
            fitting = walk.candidates(in: digest) + all.filter { $0.descriptor.digest == digest }
            if fitting.isEmpty { throw .noDigest(digest, candidates: all) }
        }
        if let reference = selector.reference {
            let called = fitting
            // The short form of a name goes for the full one too, as Docker has it.
            fitting =
                [reference, DockerReference.normalized(reference)].lazy.map { name in
                    called.filter { $0.isCalled(name) }
                }.first { !$0.isEmpty } ?? []
            if fitting.isEmpty { throw .noReference(reference, candidates: all) }
        }
        let wanted = selector.platform ?? machine
        let ranked = fitting.compactMap { candidate in
            wanted.distance(to: candidate.platform, mayExceed: selector.platform != nil).map {
                (candidate, $0)
            }
        }
        if ranked.isEmpty { throw .noPlatform(wanted, candidates: fitting) }
        return Self.best(of: ranked, areOneImage: selector.isOneImage)
    }

    /// Images of different names are different images: of each the nearest, that the user may choose among them.
    private static func best(of ranked: [(Candidate, distance: Int)], areOneImage: Bool) -> [Candidate] {
        func images(_ candidate: Candidate) -> [String?] {
            let references = areOneImage ? [] : candidate.references
            return references.isEmpty ? [nil] : references
        }
        var nearest = [String?: Int]()
        for (candidate, distance) in ranked {
            for image in images(candidate) { nearest[image] = min(nearest[image] ?? .max, distance) }
        }
        return ranked.compactMap { candidate, distance in
            images(candidate).contains { nearest[$0] == distance } ? candidate : nil
        }
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

extension Platform {
    /// This machine's, with its level.
    package static let machine: Platform =
        host.architecture == "amd64"
        ? Platform(os: host.os, architecture: host.architecture, variant: "v\(Processor.level)") : host
}
