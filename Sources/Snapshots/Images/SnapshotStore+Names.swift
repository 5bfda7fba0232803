internal import OCI

/// What a name of the command line means in a store.
package enum StoredName: Sendable, Equatable {
    case image(ImageRecord)
    case snapshot(SnapshotInfo)
}

extension SnapshotStore {
    /// The images and snapshots that a text names: images by a name, a manifest's digest or its beginning; snapshots by
    /// their key or name, or by the chain that they hold or its beginning.
    ///
    /// The beginning of a digest has four hex digits or more, with or without `sha256:` before them.
    ///
    /// - Returns: several if the text is ambiguous; none if nothing has this name.
    package func named(_ text: String) throws(StoreFailure) -> [StoredName] {
        let images = try images()
        let byName = images.filter { $0.names.contains { Self.isSame($0, text) } }.map(StoredName.image)
        // Names are compared by bytes: strings are equal if they look alike.
        let byKey = try find(text).map { [StoredName.snapshot($0)] } ?? []
        if !byName.isEmpty || !byKey.isEmpty { return byName + byKey }
        guard let prefix = DigestPrefix(text) else { return [] }
        let chains = try database.read { transaction in
            let rows = try transaction.snapshots().filter { row in
                row.verifiedChain.map { prefix.matches($0.digest) } ?? false
            }
            return try rows.map { try transaction.info($0) }
        }
        return images.filter { prefix.matches($0.manifest) }.map(StoredName.image)
            + chains.map(StoredName.snapshot)
    }

    private static func isSame(_ left: String, _ right: String) -> Bool {
        left.utf8.elementsEqual(right.utf8)
    }
}

/// The beginning of a digest.
private struct DigestPrefix {
    private let algorithm: String?
    private let hex: String

    private static let shortest = 4

    init?(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        algorithm = parts.count == 2 ? String(parts[0]) : nil
        hex = String(parts[parts.count - 1])
        guard hex.utf8.count >= Self.shortest,
            hex.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else { return nil }
    }

    func matches(_ digest: Digest) -> Bool {
        let text = digest.description.split(separator: ":", maxSplits: 1)
        return text.count == 2 && (algorithm.map { $0[...] == text[0] } ?? true) && text[1].hasPrefix(hex)
    }
}
