internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import Unpacking

/// A snapshot in JSON.
struct SnapshotDocument: Encodable {
    /// Its key; of a committed one, its name.
    let key: String
    /// `view`, `active` or `committed`.
    let kind: String
    let parent: String?
    let labels: [String: String]
    /// RFC 3339, as `updated`.
    let created: String
    let updated: String
    /// The chain that it is verified to hold.
    let chainID: ChainID?
    let verityDigest: Digest?

    init(_ info: SnapshotInfo) {
        key = info.name
        kind = info.kind.rawValue
        parent = info.parent
        labels = info.labels
        created = UTC(nanoseconds: info.created).rfc3339
        updated = UTC(nanoseconds: info.updated).rfc3339
        chainID = info.verifiedChain
        verityDigest = info.verityDigest
    }
}

/// A snapshot in the form of `ctr snapshots info`.
struct ContainerdSnapshot: Encodable {
    let kind: String
    let name: String
    let parent: String?
    let labels: [String: String]?
    let created: String
    let updated: String

    private enum CodingKeys: String, CodingKey {
        case kind = "Kind"
        case name = "Name"
        case parent = "Parent"
        case labels = "Labels"
        case created = "Created"
        case updated = "Updated"
    }

    init(_ info: SnapshotInfo) {
        kind = info.kind.title
        name = info.name
        parent = info.parent
        labels = info.labels.isEmpty ? nil : info.labels
        created = UTC(nanoseconds: info.created).rfc3339
        updated = UTC(nanoseconds: info.updated).rfc3339
    }
}

extension SnapshotInfo.Kind {
    /// The name that containerd prints.
    var title: String {
        switch self {
        case .view: "View"
        case .active: "Active"
        case .committed: "Committed"
        }
    }
}
