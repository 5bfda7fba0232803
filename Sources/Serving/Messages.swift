internal import ContainerdAPI
internal import GRPCCore
internal import Kernel
internal import Mounts
internal import OCI
internal import Snapshots
internal import SwiftProtobuf

/// Conversions between containerd's messages and the values of this program.
extension Containerd_Types_Mount {
    /// Describes a mount as containerd's own snapshotters do, with options for mount(2).
    init(_ mount: Mount) {
        self.init()
        type = mount.type
        source = mount.source
        options = mount.containerdOptions
    }
}

extension ContainerdMount {
    init(_ mount: Containerd_Types_Mount) {
        self.init(type: mount.type, source: mount.source, target: mount.target, options: mount.options)
    }
}

extension Descriptor {
    /// - Throws: `RPCError` for an invalid digest or size.
    init(_ message: Containerd_Types_Descriptor) throws(RPCError) {
        guard message.size >= 0, let digest = try? Digest(parsing: message.digest) else {
            throw RPCError(
                code: .invalidArgument,
                message: "invalid descriptor: digest '\(escaped(message.digest.utf8))', size \(message.size)")
        }
        self.init(
            mediaType: MediaType(rawValue: message.mediaType), digest: digest, size: message.size,
            annotations: message.annotations)
    }
}

extension Containerd_Services_Snapshots_V1_Info {
    init(_ info: SnapshotInfo) {
        self.init()
        name = info.name
        parent = info.parent ?? ""
        kind =
            switch info.kind {
            case .view: .view
            case .active: .active
            case .committed: .committed
            }
        createdAt = Google_Protobuf_Timestamp(nanoseconds: info.created)
        updatedAt = Google_Protobuf_Timestamp(nanoseconds: info.updated)
        labels = info.labels
    }
}

extension Timestamp {
    init(_ message: Google_Protobuf_Timestamp) {
        // protobuf does not enforce the range of `nanos`.
        self.init(
            seconds: message.seconds, nanoseconds: UInt32(clamping: min(max(message.nanos, 0), 999_999_999)))
    }
}

extension Google_Protobuf_Timestamp {
    /// - Parameter nanoseconds: since 1970-01-01 UTC.
    init(nanoseconds: Int64) {
        self.init()
        let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        // `nanos` counts upwards also before 1970 (google/protobuf/timestamp.proto).
        self.seconds = rest < 0 ? seconds - 1 : seconds
        nanos = Int32(rest < 0 ? rest + 1_000_000_000 : rest)
    }
}
