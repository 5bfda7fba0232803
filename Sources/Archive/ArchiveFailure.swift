internal import Kernel

/// A tar that is not what it should be: what is wrong with it, and where.
package struct ArchiveFailure: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Reason: Error, Equatable, Sendable {
        /// Headers that cannot be read as such, or that no two readers take for the same.
        case malformed(String)
        /// libarchive's own words, where the header walk found nothing wrong.
        case unreadable(String)
        case unknownType(UInt8)
        case unusableName(String)
        /// A number that the kernel would cut into another owner or device.
        case outOfRange(String, Int64)
        case truncated
        /// Somebody ended the stream; why is theirs to tell.
        case cancelled
    }

    package let reason: Reason
    /// Escaped for a terminal; nil where there is no name to be read.
    package let entry: String?
    /// Of the header that is wrong, or where the tar ends; in bytes of the uncompressed layer.
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
        case .unreadable("Unrecognized archive format"): "libarchive takes this header for no tar's"
        case .unreadable(let words): "libarchive cannot read it: \(words)"
        case .unknownType(let flag): "unknown type '\(shown(CollectionOfOne(flag)))'"
        case .unusableName(let what): what
        case .outOfRange(let what, let value): "\(what) \(value) is out of range"
        case .truncated: "the tar ends here, too early"
        case .cancelled: "cancelled"
        }
    }
}

/// Bytes of the archive for a message; what is too long to be read is cut.
func shown(_ bytes: some Collection<UInt8>) -> String {
    escaped(bytes.prefix(1024)) + (bytes.count > 1024 ? "…" : "")
}
