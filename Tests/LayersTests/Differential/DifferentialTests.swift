import Foundation
import TestSupport
import Testing

@Suite(
    "Layers and the model of them",
    .enabled(
        if: Ability.canApplyLayers && Ability.canMountOverlay, "no place for layers, or no overlay mounts"))
struct DifferentialTests {
    /// `UNPACK_DIFFERENTIAL_ROUNDS=20000` looks further than a run of all tests has time for.
    private static let rounds =
        ProcessInfo.processInfo.environment["UNPACK_DIFFERENTIAL_ROUNDS"].flatMap(UInt64.init) ?? 150

    @Test("Whatever layers a seed gives, they show what the model says, or both refuse them")
    func model() throws {
        var shown = 0
        for seed in 1...Self.rounds {
            let stack = LayerGenerator.stack(seed: seed)
            if (try? MergedModel(stack)) != nil { shown += 1 }
            let ways = Way.possible
            guard let found = Disagreement(withModelAbout: stack, ways[Int(seed) % ways.count]) else {
                continue
            }
            Issue.record("seed \(seed): \(found.minimal)")
        }
        // Stacks that are refused say little; a generator that gives no others would prove nothing.
        #expect(shown > Int(Self.rounds) * 3 / 4)
    }
}
