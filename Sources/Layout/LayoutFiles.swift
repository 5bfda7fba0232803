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

    /// Whether the files can be read to their end, as far as that is known.
    ///
    /// - Throws: `.unreadable` and the like, for an archive that breaks off.
    func checkWhole() throws(LayoutFailure)

    /// Takes what is left of a stream, so that whoever writes it comes to its end.
    ///
    /// - Throws: `.notALayout` if a document that was read comes once more.
    func finish() throws(LayoutFailure)
}

extension LayoutFiles {
    func finish() throws(LayoutFailure) {}

    func checkWhole() throws(LayoutFailure) {}

    /// What is wrong with one document or blob, so that images that do not need it can still be read.
    ///
    /// - Throws: what is wrong with all of the layout.
    func localFailure(_ failure: LayoutFailure) throws(LayoutFailure) -> LayoutFailure {
        guard failure.isLocal else { throw failure }
        switch failure {
        // An archive that breaks off ends every reading with these.
        case .unreadable, .notALayout, .system: try checkWhole()
        default: break
        }
        return failure
    }

    /// Where the image-layout specification puts a blob.
    func blobPath(_ digest: Digest) -> String { "blobs/\(digest.algorithm.rawValue)/\(digest.hex)" }
}
