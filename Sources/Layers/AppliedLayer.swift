package import OCI

/// A completely applied layer with its actual diff ID. It does not prove that the layer belongs to an image: a caller
/// that knows the expected `DiffID` has to compare.
package struct UnverifiedLayer: Sendable {
    package let content: LayerContent
    package let warnings: [LayerWarning]
    /// Entries in the archive.
    package let entries: Int
    /// Digests of the files that the layer's entries wrote; empty unless the pipeline keeps digests.
    package let digests: ContentDigests

    init(
        _ content: LayerContent, by interpreter: LayerInterpreter<some EntrySink>, digests: ContentDigests?
    ) {
        self.content = content
        warnings = interpreter.sink.warnings
        entries = interpreter.entries
        self.digests = digests ?? ContentDigests()
    }
}

/// Proof that a layer was applied completely and that the blob digest and the diff ID match the manifest and the
/// config.
///
/// Only this module can create one, and no snapshot is committed without one.
package struct AppliedLayer: Sendable {
    package let step: LayerStep
    private let found: UnverifiedLayer

    package var warnings: [LayerWarning] { found.warnings }
    /// Entries in the archive.
    package var entries: Int { found.entries }
    /// As `UnverifiedLayer.digests`.
    package var digests: ContentDigests { found.digests }

    /// - Throws: `.wrongDiffID`
    init(step: LayerStep, _ found: UnverifiedLayer) throws(LayerFailure) {
        try found.content.check(step.diffID)
        self.step = step
        self.found = found
    }
}

extension LayerContent {
    /// - Throws: `.wrongDiffID` if the diff ID differs.
    func check(_ expected: DiffID) throws(LayerFailure) {
        if diffID != expected { throw LayerFailure(.wrongDiffID(expected: expected, found: diffID)) }
    }
}
