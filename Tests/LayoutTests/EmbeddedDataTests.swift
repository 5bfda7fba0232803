import Kernel
import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

@Suite("Blobs embedded in descriptors") struct EmbeddedDataTests {
    private let directory: TemporaryDirectory
    private let builder: ImageBuilder

    init() throws {
        directory = try TemporaryDirectory()
        builder = try ImageBuilder(at: directory.path.appending("layout"))
    }

    /// Embeds the content of a blob file in its descriptor, and removes the file.
    private func embedded(_ descriptor: Descriptor) throws -> Descriptor {
        let bytes = try File.contents(of: builder.blobPath(descriptor.digest))
        try builder.removeBlob(descriptor)
        return descriptor.embedding(bytes)
    }

    @Test("Embedded indexes, manifests, configs and layers are read without files")
    func wholeImage() throws {
        let layer = LayerBuilder(.file("a", Bytes.noise(100_000)))
        let blob = try embedded(try builder.layer(layer))
        let config = try embedded(try builder.config(.host, [layer.diffID]))
        let manifest = try embedded(try builder.manifest(config, [blob]))
        let index = try embedded(try builder.index([manifest]))
        try builder.writeIndex([index.named("all")])
        let layout = try ImageLayout(opening: builder.path)
        let image = try layout.load(try layout.select(Selector(reference: "all")).descriptor)
        let step = try #require(image.steps.first)
        try layout.check(step.descriptor)
        var opened = try layout.open(step.descriptor)
        var bytes = [UInt8]()
        var chunk = [UInt8]()
        repeat {
            try opened.read(into: &chunk, limit: 1000)
            bytes += chunk
        } while !chunk.isEmpty
        try opened.finish()
        #expect(bytes == Packing.gzip.pack(layer.tar))
    }

    enum Part: CaseIterable { case index, manifest, config, layer }

    @Test(
        "Embedded data that does not match its descriptor is rejected, even if the layout contains the blob",
        arguments: Part.allCases, ["wrongSize", "wrongDigest"])
    func refuses(part: Part, failure: String) throws {
        func damaged(_ descriptor: Descriptor, if isDamaged: Bool) throws -> Descriptor {
            guard isDamaged else { return descriptor }
            var bytes = try File.contents(of: builder.blobPath(descriptor.digest))
            if failure == "wrongSize" { bytes.append(0x20) } else { bytes[bytes.count - 1] ^= 1 }
            return descriptor.embedding(bytes)
        }
        let layer = LayerBuilder(.file("a"))
        let blob = try damaged(try builder.layer(layer), if: part == .layer)
        let config = try damaged(try builder.config(.host, [layer.diffID]), if: part == .config)
        let manifest = try damaged(try builder.manifest(config, [blob]), if: part == .manifest)
        try builder.writeIndex([try damaged(try builder.index([manifest]), if: part == .index)])
        let found = #expect(throws: LayoutFailure.self) {
            let layout = try ImageLayout(opening: builder.path)
            let image = try layout.load(try layout.select(Selector()).descriptor)
            try layout.open(image.steps[0].descriptor).finish()
        }
        #expect(kind(found) == failure)
    }
}
