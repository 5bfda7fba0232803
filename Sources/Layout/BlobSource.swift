package import OCI

/// Where blobs are found by their digests: a layout, or a store of somebody else's.
package protocol BlobSource: Sendable {
    /// Opens a blob to be read once, checked as it is read.
    ///
    /// - Throws: `.blobMissing`, `.blobNotAFile`, `.wrongSize`, `.blobUnreadable`, `.cancelled`, `.system`.
    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob
}

extension ImageLayout: BlobSource {}

/// The bytes of a blob that somebody else brings, read once from its beginning to its end by one thread, which may wait
/// for them.
package protocol BlobStream: Sendable {
    /// Replaces the buffer's content with bytes of the blob: `limit` at most, and none only at its end.
    ///
    /// - Parameter position: where the last reading has ended.
    /// - Throws: `.blobMissing`, `.blobUnreadable`, `.cancelled`, `.system`.
    func read(into buffer: inout [UInt8], limit: Int, at position: Int64) throws(LayoutFailure)
}
