internal import OCI

/// The files of an image layout, wherever they are kept.
protocol LayoutFiles: Sendable {
    /// A document at the layout's top, whole; nil where there is none.
    ///
    /// - Throws: `.documentTooLarge`, `.notALayout`, `.system`.
    func document(_ name: String) throws(LayoutFailure) -> [UInt8]?

    /// The bytes that a descriptor names, to be verified by whoever reads them.
    ///
    /// - Throws: `.blobMissing`, `.blobNotAFile`, `.wrongSize`, `.system`.
    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source

    /// Whether a blob is there and as large as its descriptor says, as far as that can be told without reading or waiting.
    ///
    /// - Throws: as `open`.
    func check(_ descriptor: Descriptor) throws(LayoutFailure)

    /// Takes what is left of a stream, so that whoever writes it comes to its end.
    ///
    /// - Throws: `.notALayout` if a document that was read comes once more.
    func finish() throws(LayoutFailure)
}

extension LayoutFiles {
    func finish() throws(LayoutFailure) {}

    /// Where the image-layout specification puts a blob.
    func blobPath(_ digest: Digest) -> String { "blobs/\(digest.algorithm.rawValue)/\(digest.hex)" }
}
