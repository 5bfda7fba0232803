internal import OCI

/// The files of an image layout in a directory or an archive.
protocol LayoutFiles: Sendable {
    /// Reads a document at the root of the layout; nil if it is missing.
    ///
    /// - Throws: `.documentTooLarge`, `.notALayout`, `.system`.
    func document(_ name: String) throws(LayoutFailure) -> [UInt8]?

    /// Opens the bytes of a blob; the caller verifies them.
    ///
    /// - Throws: `.blobMissing`, `.blobNotAFile`, `.wrongSize`, `.system`.
    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source

    /// Checks that a blob exists and has the size in its descriptor, if that is known without reading or waiting.
    ///
    /// - Throws: as `open`.
    func check(_ descriptor: Descriptor) throws(LayoutFailure)

    /// Checks that no error was found so far that affects all files.
    ///
    /// - Throws: `.unreadable` and other failures of a truncated or damaged archive.
    func checkComplete() throws(LayoutFailure)

    /// Reads the rest of a stream, so that its writer can finish.
    ///
    /// - Throws: `.notALayout` if a document that was read has a duplicate.
    func finish() throws(LayoutFailure)
}

extension LayoutFiles {
    func finish() throws(LayoutFailure) {}

    func checkComplete() throws(LayoutFailure) {}

    /// Returns the failure if it concerns a single document or blob, so that images that do not need it can still be
    /// read.
    ///
    /// - Throws: the failure if it concerns the whole layout.
    func failureOfOneDocument(_ failure: LayoutFailure) throws(LayoutFailure) -> LayoutFailure {
        guard failure.isLocal else { throw failure }
        switch failure {
        // A truncated archive fails every read with one of these.
        case .unreadable, .notALayout, .system: try checkComplete()
        default: break
        }
        return failure
    }

    /// The path of a blob according to the image-layout specification.
    func blobPath(_ digest: Digest) -> String { "blobs/\(digest.algorithm.rawValue)/\(digest.hex)" }
}
