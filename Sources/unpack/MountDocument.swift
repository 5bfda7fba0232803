internal import Mounts
internal import SystemPackage

/// A mount in JSON, as this program performs it.
struct MountDocument: Encodable {
    let type: String
    let source: String
    let target: String
    let options: [String]

    init(_ mount: Mount, target: FilePath? = nil) {
        type = mount.type
        source = mount.source
        self.target = target?.string ?? ""
        options = mount.options(.ofThisKernel)
    }
}

/// A mount in JSON, as containerd writes one (`ctr snapshots prepare --mounts`).
struct ContainerdMountDocument: Encodable {
    private let mount: Mount
    private let target: FilePath?

    private enum CodingKeys: String, CodingKey {
        case type = "Type"
        case source = "Source"
        case target = "Target"
        case options = "Options"
    }

    init(_ mount: Mount, target: FilePath?) {
        self.mount = mount
        self.target = target
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(mount.type, forKey: .type)
        try container.encode(mount.source, forKey: .source)
        try container.encode(target?.string ?? "", forKey: .target)
        try container.encode(mount.containerdOptions, forKey: .options)
    }
}
