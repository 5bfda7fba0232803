package import Kernel
package import OCI
package import SystemPackage

/// A failure to open or read an image: it is missing, incomplete, damaged or invalid, or no image matches the
/// selection.
package enum LayoutFailure: Error, Sendable {
    case notFound(FilePath)
    case notADirectory(FilePath)
    /// The path is a directory, but an archive was requested.
    case isADirectory(FilePath)
    /// A truncated, damaged or invalid archive.
    case unreadable(FilePath, reason: String)
    /// Decompression of the archive needs a larger window than this limit in bytes.
    case windowTooLarge(FilePath, limit: Int)
    /// No space left for the temporary file of an archive.
    case noSpace(FilePath, reason: String)
    /// A stream has sent nothing for so many nanoseconds.
    case silent(FilePath, Int64)
    /// Standard input is a terminal.
    case inputIsTerminal
    /// A directory or archive without a valid `oci-layout` or `index.json`, or with an invalid structure.
    case notALayout(FilePath, reason: String)
    /// An invalid index, manifest or config, named by its file or digest.
    case document(name: String, reason: String)
    /// A manifest of something other than an image, e.g. an artifact.
    case notAnImage(Digest, reason: String)
    case documentTooLarge(name: String, size: Int64, limit: Int64)

    case blobMissing(Digest)
    case blobNotAFile(Digest, what: String)
    /// The process that provides the blob has failed.
    case blobUnreadable(Digest, reason: String)
    case wrongSize(Digest, expected: Int64, found: Int64)
    case wrongDigest(expected: Digest, found: Digest)

    case noImage(FilePath)
    case noReference(String, candidates: [Candidate])
    case noDigest(Digest, candidates: [Candidate])
    /// An index out of range, with the number of images.
    case noPosition(Int, count: Int)
    case noPlatform(Platform, candidates: [Candidate])
    case ambiguous([Candidate])

    case cancelled(Cancelled)
    case system(SyscallFailure)
}

extension LayoutFailure {
    /// Whether the failure concerns one document or blob: images that do not need it can still be read.
    var isLocal: Bool {
        switch self {
        case .document, .documentTooLarge, .notALayout, .unreadable, .blobMissing, .blobNotAFile,
            .blobUnreadable,
            .wrongSize, .wrongDigest, .system:
            true
        default: false
        }
    }

    /// Whether a document does not match its descriptor or could not be read, so that its content is unknown.
    var isDamage: Bool {
        switch self {
        case .blobNotAFile, .blobUnreadable, .wrongSize, .wrongDigest, .system: true
        default: false
        }
    }

    /// Whether a blob is missing, as in a sparse layout.
    package var isMissingBlob: Bool { if case .blobMissing = self { true } else { false } }
}
