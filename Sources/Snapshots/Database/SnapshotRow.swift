internal import OCI

/// A row of the table `snapshot`, with the name of its parent.
struct SnapshotRow: Sendable {
    struct Parent: Sendable, Equatable {
        let id: Int64
        let name: String
    }

    /// Whether the files of a committed snapshot are known to be on the disk.
    enum Durability: Sendable, Equatable {
        case durable
        /// Committed in this boot of the kernel, and not synced since.
        case pending(boot: String)
    }

    let id: Int64
    let name: String
    let kind: SnapshotInfo.Kind
    let parent: Parent?
    let owner: Owner
    /// The run that is making it; nil once it is finished.
    let run: String?
    let durability: Durability
    /// The chain that this program has verified it to hold.
    let verifiedChain: ChainID?
    /// Nil until it is measured.
    let usage: SnapshotUsage?
    /// The digest of the record of its tree; nil if there is no record.
    let treeDigest: Digest?
    let created: SnapshotInfo.Date
    let updated: SnapshotInfo.Date

    /// Whether the store stopped trusting it after a reboot.
    var isDistrusted: Bool { name.hasPrefix("distrusted/") }

    /// - Parameter labels: the stored ones. A verified snapshot also gets the label of its chain.
    func info(_ labels: [String: String]) -> SnapshotInfo {
        var labels = labels
        labels[SnapshotLabels.chain] = verifiedChain?.description
        return SnapshotInfo(
            id: id, name: name, kind: kind, parent: parent?.name, owner: owner, verifiedChain: verifiedChain,
            labels: labels, created: created, updated: updated)
    }
}
