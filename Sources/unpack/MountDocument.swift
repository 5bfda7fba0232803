internal import Mounts
internal import SystemPackage

/// A mount in JSON, as containerd writes one (`ctr snapshots prepare --mounts`).
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
