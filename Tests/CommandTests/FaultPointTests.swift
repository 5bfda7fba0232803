import SystemPackage
import TestSupport
import Testing

@Suite struct FaultPointTests {
    @Test("A skipped write counts as written, so that the program ends")
    func skippedWrites() throws {
        let program = try Program()
        let image = try program.image([LayerBuilder(.file("a", Bytes.noise(100_000)))])
        let run = try Command.run(
            "timeout", "-s", "KILL", "30", Program.path.string, "-q", image.path.string, "--root",
            program.root.string, environment: ["UNPACK_FAULT": "skip:write"])
        #expect(run.status == 0, "\(run.report)")
        #expect(run.errorText.isEmpty)
    }
}
