package import OCI

/// Which images `prune` removes, beside what nothing needs.
package struct PrunePolicy: Sendable {
    /// Images that were not used for so long are removed, in nanoseconds; nil for any time.
    package let olderThan: Int64?
    /// The least recently used images are removed until the layers of images take at most so many bytes; nil for no limit.
    package let keepBytes: Int64?
    /// Images that stay in any case.
    package let kept: Set<Digest>

    package init(olderThan: Int64? = nil, keepBytes: Int64? = nil, kept: Set<Digest> = []) {
        self.olderThan = olderThan
        self.keepBytes = keepBytes
        self.kept = kept
    }

    package var removesImages: Bool { olderThan != nil || keepBytes != nil }
}

/// An image that a policy removes.
package struct ImageRemoval: Sendable, Equatable {
    package let image: ImageRecord
    /// Bytes of the layers that only this image and those removed before it need.
    package let size: Int64
    package let reason: Reason

    package enum Reason: String, Sendable {
        case unused = "it was not used for longer than --older-than"
        case space = "the layers of images take more than --keep-bytes"
    }
}

extension SnapshotStore {
    /// The images that a policy removes, in the order of their removal: the least recently used first. An image that is
    /// mounted, or on which a snapshot of a user or a service is based, is not among them.
    package func removableImages(_ policy: PrunePolicy) throws(StoreFailure) -> [ImageRemoval] {
        guard policy.removesImages else { return [] }
        let images = try images().sorted {
            ($0.used ?? 0, $0.manifest.description) < ($1.used ?? 0, $1.manifest.description)
        }
        var sizes = [ChainID: Int64]()
        var needs = [ChainID: Int]()
        for layer in images.flatMap(\.layers) {
            needs[layer.chainID, default: 0] += 1
            if sizes[layer.chainID] == nil, let snapshot = try verified(layer.chainID) {
                sizes[layer.chainID] = try usageIfPresent(of: snapshot.name)?.size ?? 0
            }
        }
        var total = sizes.values.reduce(0, +)
        let now = clock()
        var removals = [ImageRemoval]()
        for image in images where !policy.kept.contains(image.manifest) {
            let isOld = policy.olderThan.map { now - (image.used ?? 0) > $0 } ?? false
            let isTooMuch = policy.keepBytes.map { total > $0 } ?? false
            guard isOld || isTooMuch, try !isInUse(image) else { continue }
            var freed: Int64 = 0
            for layer in image.layers {
                needs[layer.chainID, default: 0] -= 1
                if needs[layer.chainID] == 0 { freed += sizes[layer.chainID] ?? 0 }
            }
            total -= freed
            removals.append(ImageRemoval(image: image, size: freed, reason: isOld ? .unused : .space))
        }
        return removals
    }

    /// Whether anything but images needs the top layer of an image.
    private func isInUse(_ image: ImageRecord) throws(StoreFailure) -> Bool {
        try keepers(of: [image.topChain]).contains { if case .image = $0 { false } else { true } }
    }
}
