import Archive
import Foundation
import Kernel
import Layers
import Layout
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

@Suite(
    "Corrupt layers", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct CorruptTests {
    private let temporary: TemporaryDirectory
    private let builder: ImageBuilder

    init() throws {
        temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        builder = try ImageBuilder(at: temporary.path.appending("layout"))
    }

    private enum Outcome {
        case applied(Int)
        case refused(LayerFailure)

        var entries: Int? { if case .applied(let count) = self { count } else { nil } }
        var cause: String {
            guard case .refused(let failure) = self else { return "applied" }
            if case .blob(let inner) = failure.cause { return String("\(inner)".prefix { $0 != "(" }) }
            return String("\(failure.cause)".prefix { $0 != "(" })
        }
        /// Whether a failure of the archive is reported with its offset in the tar.
        var isReported: Bool {
            guard case .refused(let failure) = self else { return true }
            guard case .archive(let cause) = failure.cause else { return true }
            return "\(cause)".contains("byte \(cause.offset) of the tar: ") && cause.reason != .cancelled
        }
    }

    private func apply(_ step: LayerStep) throws -> Outcome {
        let path = try temporary.makeDirectory(UUID().uuidString)
        let pipeline = LayerPipeline(
            try ImageLayout(opening: builder.path), form: .device, budget: Budget(),
            cancellation: Cancellation())
        do {
            let directory = try Directory(opening: path)
            let applied = try pipeline.apply(step, to: directory, over: Promise(LowerView([])))
            return .applied(applied.entries)
        } catch let failure as LayerFailure {
            return .refused(failure)
        }
    }

    /// Applies each blob on its own, with its own digests.
    private func outcomes(_ blobs: [[UInt8]], diffID: DiffID? = nil) throws -> [Outcome] {
        // An image can have 500 layers at most.
        try stride(from: 0, to: blobs.count, by: 500).flatMap { start in
            let layers = try blobs[start...].prefix(500).map { try builder.blob($0, Packing.none.mediaType) }
            let config = try builder.config(.host, layers.map { diffID ?? DiffID($0.digest) })
            let layout = try ImageLayout(opening: builder.path)
            return try layout.load(try builder.manifest(config, layers)).steps.map(apply)
        }
    }

    /// Applies each blob in place of another one, under the other's digests.
    private func outcomes(_ blobs: [[UInt8]], insteadOf tar: [UInt8]) throws -> [Outcome] {
        let layer = try builder.blob(tar, Packing.none.mediaType)
        let config = try builder.config(.host, [DiffID(layer.digest)])
        let layout = try ImageLayout(opening: builder.path)
        let step = try #require(try layout.load(try builder.manifest(config, [layer])).steps.first)
        return try blobs.map { blob in
            try builder.damageBlob(layer) { $0 = Data(blob) }
            return try apply(step)
        }
    }

    @Test("A truncated layer is refused unless its digests match and it ends between two entries")
    func cut() throws {
        let lengths = Array(stride(from: 0, to: SampleTar.whole.bytes.count, by: 512))
        let cuts = lengths.map { Array(SampleTar.whole.bytes.prefix($0)) }
        for outcome in try outcomes(cuts, insteadOf: SampleTar.whole.bytes) {
            #expect(outcome.cause == "wrongSize")
        }
        for (length, outcome) in zip(lengths, try outcomes(cuts)) {
            let isWhole = length >= SampleTar.whole.bytes.count - 1024
            let expected = isWhole ? SampleTar.entries.count : SampleTar.whole.boundaries[length]
            #expect(outcome.entries == expected && outcome.isReported, "cut at \(length): \(outcome)")
        }
    }

    @Test("A flipped byte of a header is a wrong digest, and with matching digests a wrong checksum")
    func flipped() throws {
        // Different bytes of each header; the tests of the reader flip all of them.
        let tars = SampleTar.whole.headers.enumerated().flatMap { index, header in
            stride(from: header + index, to: header + 512, by: 16).map { SampleTar.whole.flipping($0) }
        }
        for outcome in try outcomes(tars, insteadOf: SampleTar.whole.bytes) {
            #expect(outcome.cause == "wrongDigest")
        }
        for outcome in try outcomes(tars) {
            // If the first block is not a header, the format is not a tar.
            #expect(["compression", "archive"].contains(outcome.cause) && outcome.isReported, "\(outcome)")
        }
    }

    @Test("An arbitrary header field with a valid checksum is applied inside the directory, or refused")
    func summed() throws {
        // Next to the layers' directories.
        let canary = try temporary.makeDirectory("canary")
        try temporary.write("canary/file", [1])
        let before = try TreeDump(of: try Directory(opening: canary))
        let outcomes = try outcomes(
            SampleTar.whole.headers.flatMap { SampleTar.whole.changingFields(ofHeader: $0) })
        for outcome in outcomes { #expect(outcome.isReported, "\(outcome)") }
        #expect(Set(outcomes.map(\.cause)) == ["applied", "archive", "refused"])
        let after = try TreeDump(of: try Directory(opening: canary))
        #expect(after == before)
    }

    @Test(
        "A damaged compressed stream is refused unless its content is intact",
        arguments: [Packing.gzip, .zstd], ["stored", "compressed"])
    func streams(packing: Packing, form: String) throws {
        let tool = packing == .gzip ? "gzip" : "zstd"
        var blob = packing.pack(SampleTar.whole.bytes)
        if form == "compressed" {
            if !TestEnvironment.has(tool) { return }
            blob = try Command.run(tool, "-c", input: SampleTar.whole.bytes).succeed().output
        }
        // Start, middle and end.
        let positions =
            Array(0..<20) + Array(stride(from: 20, to: blob.count, by: blob.count / 50))
            + Array((blob.count - 10)..<blob.count)
        let damaged = positions.map { position in
            var copy = blob
            copy[position] ^= 0x55
            return copy
        }
        let garbage = [
            blob + [1], blob + Bytes.noise(1000).array, [1] + blob, blob + blob.prefix(blob.count / 2),
        ]
        let cut = positions.map { Array(blob.prefix($0)) }
        let diffID = DiffID(sha256(of: SampleTar.whole.bytes))
        for outcome in try outcomes(garbage + cut.dropFirst(), diffID: diffID) {
            #expect(outcome.entries == nil && outcome.isReported, "\(outcome)")
        }
        for (position, outcome) in zip(positions, try outcomes(damaged, diffID: diffID)) {
            // A time in a gzip header and the size of a window do not matter; the diff ID proves the content.
            #expect(outcome.entries == nil || position < 20, "byte \(position)")
            #expect(outcome.isReported, "\(outcome)")
        }
    }
}
