package import Kernel
package import OCI
package import Streams
package import SystemPackage

/// An image on disk that is not there, not whole, or not what it says.
package enum LayoutFailure: Error, Sendable {
    case notFound(FilePath)
    case notADirectory(FilePath)
    /// A directory where an archive was asked for.
    case isADirectory(FilePath)
    /// An archive that breaks off, or is none.
    case unreadable(FilePath, reason: String)
    /// An archive that can only be decompressed with more memory than this, in bytes.
    case windowTooLarge(FilePath, limit: Int)
    /// No space where an archive is kept while it arrives.
    case noRoom(FilePath, SyscallFailure)
    /// Nothing is piped into the program.
    case inputIsTerminal
    /// A directory without a usable `oci-layout` or `index.json`.
    case notALayout(FilePath, reason: String)
    /// An index, manifest or config that is not valid; named by its file or digest.
    case document(name: String, reason: String)
    /// A manifest of something else than an image, e.g. an artifact.
    case notAnImage(Digest, reason: String)
    case documentTooLarge(name: String, size: Int64, limit: Int64)

    case blobMissing(Digest)
    case blobNotAFile(Digest, what: String)
    /// Who brings it has failed.
    case blobUnreadable(Digest, reason: String)
    case wrongSize(Digest, expected: Int64, found: Int64)
    case wrongDigest(expected: Digest, found: Digest)

    case noImage(FilePath)
    case noReference(String, candidates: [Candidate])
    case noDigest(Digest, candidates: [Candidate])
    /// Of so many images.
    case noPosition(Int, count: Int)
    case noPlatform(Platform, candidates: [Candidate])
    case ambiguous([Candidate])

    case cancelled(Cancelled)
    case system(SyscallFailure)
}

extension LayoutFailure {
    /// Whether it is about one document or blob: an image that does not need that one can be read.
    var isLocal: Bool {
        switch self {
        case .document, .documentTooLarge, .notALayout, .unreadable, .blobMissing, .blobNotAFile,
            .blobUnreadable,
            .wrongSize, .wrongDigest, .system:
            true
        default: false
        }
    }

    /// Whether bytes were read that are not what their descriptor says, or could not be read: what they should be is not known.
    var isDamage: Bool {
        switch self {
        case .blobNotAFile, .blobUnreadable, .wrongSize, .wrongDigest, .system: true
        default: false
        }
    }

    /// Whether it is about a blob that a sparse layout does not hold.
    package var isMissingBlob: Bool { if case .blobMissing = self { true } else { false } }
}
