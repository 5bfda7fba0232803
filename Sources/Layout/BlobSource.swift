package import OCI

/// A source of blobs by digest: a layout, or an external content store.
package protocol BlobSource: Sendable {
    /// Opens a blob for reading once; it is verified while it is read.
    ///
    /// - Throws: `.blobMissing`, `.blobNotAFile`, `.wrongSize`, `.blobUnreadable`, `.cancelled`, `.system`.
    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob
}

extension ImageLayout: BlobSource {}

/// The bytes of a blob that another process provides, read once from beginning to end by one thread. Reading may
/// block.
package protocol BlobStream: Sendable {
    /// Replaces the buffer's content with the next bytes of the blob: at most `limit`, and none only at the end.
    ///
    /// - Parameter position: offset in the blob, where the previous read ended.
    /// - Throws: `.blobMissing`, `.blobUnreadable`, `.cancelled`, `.system`.
    func read(into buffer: inout [UInt8], limit: Int, at position: Int64) throws(LayoutFailure)
}
