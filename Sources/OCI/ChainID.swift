internal import Crypto

/// The digest of a layer's *uncompressed* tar (OCI image spec, config.md, "Layer DiffID").
package struct DiffID: Hashable, Sendable, CustomStringConvertible {
    package let digest: Digest

    package init(_ digest: Digest) { self.digest = digest }

    package var description: String { digest.description }
}

extension DiffID: Codable {
    package init(from decoder: any Decoder) throws { digest = try Digest(from: decoder) }
    package func encode(to encoder: any Encoder) throws { try digest.encode(to: encoder) }
}

/// The digest that identifies a layer together with all layers below it (OCI image spec, config.md, "Layer ChainID").
package struct ChainID: Hashable, Sendable, CustomStringConvertible {
    package let digest: Digest

    /// A chain ID that was computed before, e.g. read from a store.
    package init(_ digest: Digest) { self.digest = digest }

    /// `ChainID(0) = DiffID(0)`, `ChainID(n) = SHA256(ChainID(n-1) + " " + DiffID(n))`.
    package init(of diffID: DiffID, on parent: ChainID?) {
        guard let parent else {
            digest = diffID.digest
            return
        }
        let hash = SHA256.hash(data: Array("\(parent) \(diffID)".utf8))
        digest = Digest(.sha256, bytes: hash)
    }

    package var description: String { digest.description }
}

extension ChainID: Codable {
    package init(from decoder: any Decoder) throws { digest = try Digest(from: decoder) }
    package func encode(to encoder: any Encoder) throws { try digest.encode(to: encoder) }
}
