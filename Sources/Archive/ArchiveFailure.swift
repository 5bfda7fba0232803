internal import Kernel

/// An invalid tar: what is wrong and where.
package struct ArchiveFailure: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Reason: Error, Equatable, Sendable {
        /// Headers that cannot be parsed, or that readers interpret differently.
        case malformed(String)
        /// An error of libarchive where the header walk found none.
        case unreadable(String)
        case unknownType(UInt8)
        case invalidName(String)
        /// A number that the kernel would truncate to another owner or device.
        case outOfRange(String, Int64)
        case truncated
        /// The stream was cancelled; the caller knows why.
        case cancelled
    }

    package let reason: Reason
    /// Name of the entry, escaped for a terminal; nil if it is not known.
    package let entry: String?
    /// Offset of the invalid header or of the end of the tar, in bytes of the uncompressed layer.
    package let offset: Int64

    package var description: String {
        let name = entry.map { "entry '\($0)', " } ?? ""
        return "\(name)byte \(offset) of the tar: \(reason)"
    }
}

extension ArchiveFailure.Reason: CustomStringConvertible {
    package var description: String {
        switch self {
        case .malformed(let what): what
        case .unreadable("Unrecognized archive format"): "libarchive does not recognize this header as tar"
        case .unreadable(let words): "libarchive cannot read it: \(words)"
        case .unknownType(let flag): "unknown type '\(shown(CollectionOfOne(flag)))'"
        case .invalidName(let what): what
        case .outOfRange(let what, let value): "\(what) \(value) is out of range"
        case .truncated: "unexpected end of the tar"
        case .cancelled: "cancelled"
        }
    }
}

/// Bytes of the archive, escaped and shortened for a message.
func shown(_ bytes: some Collection<UInt8>) -> String {
    escaped(bytes.prefix(1024)) + (bytes.count > 1024 ? "…" : "")
}
