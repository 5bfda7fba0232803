/// A tar that is not what it should be. Offsets are bytes of the uncompressed layer.
package enum ArchiveFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// A header that cannot be read as one.
    case malformed(reason: String, offset: Int64)
    /// libarchive's own words.
    case unreadable(reason: String, entry: String?)
    case unknownType(flag: UInt8, offset: Int64)
    case unusableName(name: String, reason: String)
    /// A number that the kernel would cut into another owner or device.
    case outOfRange(entry: String, what: String, value: Int64)
    case truncated(offset: Int64)
    /// Somebody ended the stream; the reason is theirs to tell.
    case cancelled

    package var description: String {
        switch self {
        case .malformed(let reason, let offset): "malformed tar at byte \(offset) of the layer: \(reason)"
        case .unreadable(let reason, let entry?): "entry '\(entry)': \(reason)"
        case .unreadable(let reason, nil): "malformed tar: \(reason)"
        case .unknownType(let flag, let offset):
            "unknown entry type '\(Unicode.Scalar(flag).escaped(asASCII: true))' at byte \(offset) of the layer"
        case .unusableName(let name, let reason): "entry '\(name)': \(reason)"
        case .outOfRange(let entry, let what, let value): "entry '\(entry)': \(what) \(value) is out of range"
        case .truncated(let offset): "the tar ends too early, at byte \(offset) of the layer"
        case .cancelled: "cancelled"
        }
    }
}
