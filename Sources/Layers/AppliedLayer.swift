package import OCI

/// A layer that was applied whole, and what it turned out to be. It proves nothing of any image: whoever knows the `DiffID`
/// has to compare it.
package struct FoundLayer: Sendable {
    package let content: LayerContent
    package let warnings: [LayerWarning]
    /// Entries in the archive.
    package let entries: Int
    /// Of the files that it has, as far as they were asked for.
    package let digests: ContentDigests

    init(_ content: LayerContent, by interpreter: LayerInterpreter<DirectorySink>) {
        self.content = content
        warnings = interpreter.sink.warnings
        entries = interpreter.entries
        digests = interpreter.sink.digests ?? ContentDigests()
    }
}

/// The proof that a layer was applied whole and is what manifest and config say: blob digest and diff ID both
/// fit.
///
/// Only this room can make one, and nothing is committed without.
package struct AppliedLayer: Sendable {
    package let step: LayerStep
    private let found: FoundLayer

    package var warnings: [LayerWarning] { found.warnings }
    /// Entries in the archive.
    package var entries: Int { found.entries }
    /// Of the files that it has, as far as they were asked for.
    package var digests: ContentDigests { found.digests }

    /// - Throws: `.wrongDiffID`
    init(step: LayerStep, _ found: FoundLayer) throws(LayerFailure) {
        try found.content.check(step.diffID)
        self.step = step
        self.found = found
    }
}

/// What a layer's blob turned out to hold.
package struct LayerContent: Sendable {
    package let diffID: DiffID
    /// Bytes of the tar.
    package let size: Int64

    /// - Throws: `.wrongDiffID` if it is not what was expected.
    func check(_ expected: DiffID) throws(LayerFailure) {
        if diffID != expected { throw LayerFailure(.wrongDiffID(expected: expected, found: diffID)) }
    }
}
