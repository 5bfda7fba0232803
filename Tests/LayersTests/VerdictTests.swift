import Foundation
import Kernel
import Layers
import Layout
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

/// The kind of a failure, e.g. `blob.wrongDigest` or `wrongDiffID`.
private func kind(_ failure: LayerFailure?) -> String {
    guard let cause = failure?.cause else { return "nothing" }
    if case .blob(let inner) = cause { return "blob." + "\(inner)".prefix { $0 != "(" } }
    return String("\(cause)".prefix { $0 != "(" })
}

/// Longer than one block of any stage.
private let noise = Bytes.noise(1_200_000)

@Suite(
    "Verification of a layer",
    .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata")
)
struct VerdictTests {
    private let temporary: TemporaryDirectory
    private let builder: ImageBuilder
    private let layer = LayerBuilder(.directory("d"), .file("d/f", noise), .file("g", "1"))

    init() throws {
        temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        builder = try ImageBuilder(at: temporary.path.appending("layout"))
    }

    private func apply(
        _ manifest: Descriptor, _ cancellation: Cancellation = Cancellation(),
        progress: @escaping LayerPipeline.Progress = { _ in }
    ) throws -> AppliedLayer {
        let layout = try ImageLayout(opening: builder.path)
        let step = try #require(try layout.load(manifest).steps.first)
        let directory = try Directory(opening: try temporary.makeDirectory(UUID().uuidString))
        let pipeline = LayerPipeline(
            layout, form: .device, budget: Budget(), cancellation: cancellation)
        return try pipeline.apply(step, to: directory, over: Promise(LowerView([])), progress: progress)
    }

    @Test("An undamaged layer is verified", arguments: Packing.allCases)
    func whole(packing: Packing) throws {
        let applied = try apply(try builder.image([layer], packing: packing))
        #expect(applied.entries == 3)
        #expect(applied.step.diffID == layer.diffID)
        #expect(applied.warnings == [])
    }

    @Test("Data after the end of the tar is part of the diff ID", arguments: Packing.allCases)
    func trailer(packing: Packing) throws {
        var longer = layer
        longer.trailer = noise.array
        #expect(longer.diffID != layer.diffID)
        #expect(try apply(try builder.image([longer], packing: packing)).entries == 3)
        let wrong = try builder.image([longer], packing: packing, diffIDs: [layer.diffID])
        #expect(kind(#expect(throws: LayerFailure.self) { try apply(wrong) }) == "wrongDiffID")
    }

    @Test("The diff ID is that of the tar, not of the blob")
    func diffID() throws {
        let blob = sha256(of: Packing.gzip.pack(layer.tar))
        let wrong = try builder.image([layer], diffIDs: [DiffID(blob)])
        let failure = #expect(throws: LayerFailure.self) { try apply(wrong) }
        guard case .wrongDiffID(let expected, let found) = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
        #expect(expected.digest == blob)
        #expect(found == layer.diffID)
    }

    @Test(
        "A flipped byte anywhere in the blob is reported as a wrong digest", arguments: Packing.allCases,
        [0, 1, 20, 157, 600, 2000, 1_000_000, -1])
    func flipped(packing: Packing, position: Int) throws {
        let image = try builder.image([layer], packing: packing)
        let blob = try #require(try ImageLayout(opening: builder.path).load(image).steps.first).descriptor
        try builder.damageBlob(blob) { $0[position < 0 ? $0.count + position : position] ^= 0x55 }
        #expect(kind(#expect(throws: LayerFailure.self) { try apply(image) }) == "blob.wrongDigest")
    }

    @Test(
        "A blob that is missing, shorter or longer is reported as such",
        arguments: ["blobMissing", "shorter", "longer"])
    func sizes(damage: String) throws {
        let image = try builder.image([layer])
        let blob = try #require(try ImageLayout(opening: builder.path).load(image).steps.first).descriptor
        switch damage {
        case "shorter": try builder.damageBlob(blob) { $0.removeLast() }
        case "longer": try builder.damageBlob(blob) { $0.append(0) }
        default: try builder.removeBlob(blob)
        }
        let expected = damage == "blobMissing" ? "blob.blobMissing" : "blob.wrongSize"
        #expect(kind(#expect(throws: LayerFailure.self) { try apply(image) }) == expected)
    }

    @Test(
        "A blob that matches its digest but is not a layer is refused with the cause",
        arguments: [
            ("compression", Array("no layer".utf8)),
            ("compression", Packing.gzip.pack(LayerBuilder(.file("a")).tar).dropLast(9) + []),
            ("compression", Packing.gzip.pack(LayerBuilder(.file("a")).tar) + [1]),
            ("compression", Packing.zstd.pack(LayerBuilder(.file("a")).tar).dropLast(3) + []),
            ("archive", Packing.gzip.pack(LayerBuilder(.file("a"), .file("b").withWrongChecksum()).tar)),
            ("archive", Packing.gzip.pack(Bytes.noise(2000).array)),
            ("archive", Array(LayerBuilder(.file("a", "text")).tar.prefix(514))),
            ("refused", LayerBuilder(.file(".wh.")).tar),
        ] as [(String, [UInt8])])
    func noLayer(expected: String, bytes: [UInt8]) throws {
        let config = try builder.config(.host, [layer.diffID])
        let manifest = try builder.manifest(config, [try builder.blob(bytes, Packing.gzip.mediaType)])
        #expect(kind(#expect(throws: LayerFailure.self) { try apply(manifest) }) == expected)
    }

    @Test(
        "The compression is detected from the blob, not from the media type", arguments: Packing.allCases,
        Packing.allCases)
    func mislabelled(packing: Packing, label: Packing) throws {
        let config = try builder.config(.host, [layer.diffID])
        let blob = try builder.blob(packing.pack(layer.tar), label.mediaType)
        #expect(try apply(try builder.manifest(config, [blob])).entries == 3)
    }

    @Test("An empty blob and a blob of zeros are empty layers", arguments: [0, 512, 1024, 10240])
    func empty(zeros: Int) throws {
        let tar = [UInt8](repeating: 0, count: zeros)
        let config = try builder.config(.host, [DiffID(sha256(of: tar))])
        let manifest = try builder.manifest(config, [try builder.blob(tar, Packing.none.mediaType)])
        #expect(try apply(manifest).entries == 0)
    }

    @Test("A layer can be cancelled before and while it is applied", arguments: [true, false])
    func cancelled(before: Bool) throws {
        let image = try builder.image([layer])
        let cancellation = Cancellation()
        if before { cancellation.cancel(signal: 15) }
        let failure = #expect(throws: LayerFailure.self) {
            try apply(image, cancellation) { _ in cancellation.cancel(signal: 15) }
        }
        #expect(kind(failure) == "cancelled")
    }
}

@Suite(
    "Images of other tools",
    .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct FixtureTests {
    @Test("The same image in gzip, zstd and plain tar gives the same tree")
    func busybox() throws {
        let fixtures = FilePath(#filePath).removingLastComponent().appending("../../Fixtures")
        let trees = try ["busybox", "busybox-zstd", "busybox-tar"].map { name in
            let layout = try ImageLayout(opening: fixtures.appending(name))
            let image = try layout.select(Selector(platform: Platform(os: "linux", architecture: "amd64")))
            return try Stack(image.descriptor, of: layout).tree
        }
        #expect(trees[0].lines.count > 50)
        #expect(trees[0] == trees[1])
        #expect(trees[0] == trees[2])
        #expect(trees[0]["usr/share/implicit"] == "d 0755 0:0 0.000000000")
    }
}
