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

    /// What this program guarantees about the content.
    enum Trust: Sendable, Equatable {
        /// Nothing: a user or a client has written it, or it is not committed.
        case none
        /// This program has verified every byte of the chain.
        case verified(ChainID)
        /// It was committed and not synced before a reboot, or is based on such a snapshot, and may lack files.
        case distrusted
    }

    let id: Int64
    let name: String
    let kind: SnapshotInfo.Kind
    let parent: Parent?
    let owner: Owner
    /// The run that is making it; nil once it is finished.
    let run: String?
    let durability: Durability
    let trust: Trust
    /// Nil until it is measured.
    let usage: SnapshotUsage?
    /// The digest of the record of its tree; nil if there is no record.
    let treeDigest: Digest?
    /// The digest of fs-verity; nil if it does not protect the snapshot.
    let verityDigest: Digest?
    let created: SnapshotInfo.Date
    let updated: SnapshotInfo.Date

    var verifiedChain: ChainID? {
        guard case .verified(let chain) = trust else { return nil }
        return chain
    }

    /// - Parameter labels: the stored ones. A verified snapshot also gets the label of its chain.
    func info(_ labels: [String: String]) -> SnapshotInfo {
        var labels = labels
        labels[SnapshotLabels.chain] = verifiedChain?.description
        return SnapshotInfo(
            id: id, name: name, kind: kind, parent: parent?.name, parentID: parent?.id, owner: owner,
            verifiedChain: verifiedChain, verityDigest: verityDigest, labels: labels, created: created,
            updated: updated)
    }
}
