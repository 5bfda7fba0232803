internal import Mounts
internal import Programs
internal import SystemPackage

/// A mount in JSON, with the options that this program passes to the kernel.
struct MountDocument: Encodable {
    let type: String
    let source: String
    let target: String
    let options: [String]

    /// The mounts in order. A mount that consists of several is shown as these.
    static func all(_ mounts: [Mount], target: FilePath? = nil) -> [MountDocument] {
        mounts.flatMap(\.parts).map { MountDocument($0.mount, target: $0.target ?? target) }
    }

    private init(_ mount: Mount, target: FilePath?) {
        type = mount.type
        source = mount.source
        self.target = target?.string ?? ""
        options = mount.options(.ofThisKernel)
    }
}

/// Mounts in JSON, byte for byte as `ctr snapshots prepare --mounts` prints them (containerd 2.1): indented by Go's
/// encoding/json, which also escapes `<`, `>` and `&`.
struct ContainerdMounts {
    let text: String

    init(_ mounts: [Mount], target: FilePath?) throws {
        let documents = try mounts.flatMap(\.parts).map { mount, own in
            let options = try mount.containerdOptions.map { "            " + (try Self.quoted($0)) }
            return """
                    {
                        "Type": \(try Self.quoted(mount.type)),
                        "Source": \(try Self.quoted(mount.source)),
                        "Target": \(try Self.quoted((own ?? target)?.string ?? "")),
                        "Options": [
                \(options.joined(separator: ",\n"))
                        ]
                    }
                """
        }
        text = "[\n" + documents.joined(separator: ",\n") + "\n]"
    }

    private static func quoted(_ text: String) throws -> String {
        let escapes = [("<", "003c"), (">", "003e"), ("&", "0026")]
        return try escapes.reduce(encoded(text)) { $0.replacing($1.0, with: "\\u" + $1.1) }
    }
}
