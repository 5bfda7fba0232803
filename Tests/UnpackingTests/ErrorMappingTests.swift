import Kernel
import Layers
import Testing
import Unpacking

@Suite("Errors of a kind that no code expects") struct ErrorMappingTests {
    private struct Unexpected: Error {}

    @Test("They are reported as a bug of the program, not as a fault of the image")
    func unexpected() {
        for error in [Unexpected(), InternalError("a state that cannot be")] as [any Error] {
            let failure = UnpackError(LayerFailure.wrapping(error), in: "layer 1")
            #expect(failure.code == .internal)
            #expect(failure.code.exitStatus == 70)
            #expect(failure.hint?.contains("bug in unpack") == true)
        }
    }
}
