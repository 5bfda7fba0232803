import Foundation
import TestSupport
import Testing

@Suite(
    "Layers compared with the model",
    .enabled(
        if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
        "no directory that supports all metadata, or no overlay mounts"))
struct DifferentialTests {
    /// `UNPACK_DIFFERENTIAL_ROUNDS=20000` tries more layers than a run of all tests has time for.
    private static let rounds =
        ProcessInfo.processInfo.environment["UNPACK_DIFFERENTIAL_ROUNDS"].flatMap(UInt64.init) ?? 150

    @Test("Random layers show the tree that the model predicts, or both refuse them")
    func model() throws {
        var shown = 0
        for seed in 1...Self.rounds {
            let stack = LayerGenerator.stack(seed: seed)
            if (try? MergedModel(stack)) != nil { shown += 1 }
            let variants = Variant.supported
            guard let found = Disagreement(withModelAbout: stack, variants[Int(seed) % variants.count]) else {
                continue
            }
            Issue.record("seed \(seed): \(found.minimal)")
        }
        // Refused stacks test little; a generator that creates only those would prove nothing.
        #expect(shown > Int(Self.rounds) * 3 / 4)
    }
}
