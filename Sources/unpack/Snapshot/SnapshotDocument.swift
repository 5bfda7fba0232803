internal import Kernel
internal import OCI
internal import Snapshots

/// A snapshot in JSON, in the form of `ctr snapshots info`.
struct SnapshotDocument: Encodable {
    let kind: String
    let name: String
    let parent: String?
    let labels: [String: String]?
    let created: String
    let updated: String
    let verityDigest: String?

    private enum CodingKeys: String, CodingKey {
        case kind = "Kind"
        case name = "Name"
        case parent = "Parent"
        case labels = "Labels"
        case created = "Created"
        case updated = "Updated"
        case verityDigest = "VerityDigest"
    }

    init(_ info: SnapshotInfo) {
        kind = info.kind.title
        name = info.name
        parent = info.parent
        labels = info.labels.isEmpty ? nil : info.labels
        created = UTC(nanoseconds: info.created).rfc3339
        updated = UTC(nanoseconds: info.updated).rfc3339
        verityDigest = info.verityDigest?.description
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
