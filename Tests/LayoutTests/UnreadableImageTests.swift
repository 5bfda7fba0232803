import Foundation
import Kernel
import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

private let signatureLayer = MediaType(rawValue: "application/vnd.dev.cosign.simplesigning.v1+json")

@Suite("Images next to unreadable ones") struct UnreadableImageTests {
    private let directory: TemporaryDirectory
    private let builder: ImageBuilder
    private let good: Descriptor

    init() throws {
        directory = try TemporaryDirectory()
        builder = try ImageBuilder(at: directory.path.appending("layout"))
        good = try builder.image([LayerBuilder(.file("good"))])
    }

    /// A defect of an image that was not requested.
    enum Wrong: String, CaseIterable, CustomTestStringConvertible {
        case damagedManifest, damagedConfig, damagedIndex, missingManifest, missingConfig, malformedConfig
        case malformedManifest, manifestIsFolder, emptyConfig, wrongSize, signature, artifact, cache, noLayers

        var testDescription: String { rawValue }

        /// The failure when this image is requested.
        var kind: String {
            switch self {
            case .damagedManifest, .damagedConfig, .damagedIndex: "wrongDigest"
            case .missingManifest, .missingConfig: "blobMissing"
            case .malformedConfig, .malformedManifest, .emptyConfig: "document"
            case .manifestIsFolder: "blobNotAFile"
            case .wrongSize: "wrongSize"
            case .signature, .artifact, .cache: "noReference"
            case .noLayers: "nothing"
            }
        }

        /// Whether the defect hides what the document is, so that it may be an image for this machine.
        var isDamage: Bool { ["wrongDigest", "blobNotAFile", "wrongSize"].contains(kind) }
    }

    /// Creates a descriptor with the defect, named `bad`. No descriptor has a platform.
    private func make(_ wrong: Wrong) throws -> Descriptor {
        func flip(_ data: inout Data) { data[data.count - 2] ^= 1 }
        let layer = try builder.layer(LayerBuilder(.file("bad")))
        let config = try builder.config(.host, [LayerBuilder(.file("bad")).diffID])
        let image = try builder.manifest(config, [layer])
        func withConfig(_ text: String, _ layers: [Descriptor]) throws -> Descriptor {
            try builder.manifest(try builder.blob(Array(text.utf8), .ociConfig), layers)
        }
        switch wrong {
        case .damagedManifest: try builder.damageBlob(image, flip)
        case .damagedConfig: try builder.damageBlob(config, flip)
        case .damagedIndex:
            let index = try builder.index([image])
            try builder.damageBlob(index, flip)
            return index.named("bad")
        case .missingManifest: try builder.removeBlob(image)
        case .missingConfig: try builder.removeBlob(config)
        case .malformedConfig: return try withConfig("{", [layer]).named("bad")
        case .malformedManifest: return try builder.blob(Array("{}".utf8), .ociManifest).named("bad")
        case .manifestIsFolder:
            try builder.removeBlob(image)
            try FileManager.default.createDirectory(
                atPath: builder.blobPath(image.digest).string, withIntermediateDirectories: false)
        case .emptyConfig: return try withConfig("{}", [layer]).named("bad")
        case .wrongSize: return image.withSize(image.size + 1).named("bad")
        case .signature:
            let text = """
                {"architecture": "", "created": "0001-01-01T00:00:00Z", "history": [{"created": "0001-01-01T00:00:00Z"}],
                 "os": "", "rootfs": {"type": "layers", "diff_ids": ["\(good.digest)"]}, "config": {}}
                """
            return try withConfig(text, [try builder.blob(Array("{}".utf8), signatureLayer)]).named("bad")
        case .artifact:
            let type = MediaType(rawValue: "application/vnd.oci.empty.v1+json")
            return try builder.manifest(try builder.blob(Array("{}".utf8), type), [layer]).named("bad")
        case .cache:
            let type = MediaType(rawValue: "application/vnd.buildkit.cacheconfig.v0")
            return try builder.index([layer, try builder.blob(Array("{}".utf8), type)]).named("bad")
        case .noLayers: return try builder.manifest(try builder.config(.host, []), []).named("bad")
        }
        return image.named("bad")
    }

    private func failure(_ layout: ImageLayout, _ selector: Selector) -> LayoutFailure? {
        let result = Result { try layout.load(try layout.select(selector).descriptor) }
        if case .failure(let error) = result { return error as? LayoutFailure }
        return nil
    }

    @Test(
        "An image is selected by name, digest and position next to an unreadable one",
        arguments: Wrong.allCases,
        [false, true])
    func beside(wrong: Wrong, isFirst: Bool) throws {
        let bad = try make(wrong)
        let good = self.good.named("good")
        try builder.writeIndex(isFirst ? [bad, good] : [good, bad])
        let file = try directory.write("layout.tar", LayerBuilder(try builder.members()).tar)
        for source in [ImageSource(builder.path), ImageSource(file), ImageSource(file, .ociArchive)] {
            let layout = try ImageLayout(opening: source)
            let position = isFirst ? 1 : 0
            let ways = [
                Selector(reference: "good"), Selector(digest: good.digest), Selector(position: position),
                Selector(reference: "good", platform: .host),
            ]
            for way in ways {
                let chosen = try layout.select(way)
                #expect(chosen.descriptor.digest == good.digest)
                #expect(try layout.load(chosen.descriptor).steps.count == 1)
            }
            #expect(try layout.candidates().contains { $0.descriptor.digest == good.digest })
            let asked = failure(layout, Selector(reference: "bad"))
            // A directory in an archive is not a blob.
            let expected = wrong == .manifestIsFolder && source.path == file ? "unreadable" : wrong.kind
            #expect(kind(asked) == expected, "\(asked.map { "\($0)" } ?? "")")
            if wrong == .noLayers { continue }
            #expect(
                kind(failure(layout, Selector(digest: bad.digest)))
                    == (wrong.kind == "noReference" ? "noDigest" : expected))
            // A damaged document may be the requested image; an artifact is not.
            let unnamed = failure(layout, Selector())
            #expect(kind(unnamed) == (wrong.isDamage && expected != "unreadable" ? "ambiguous" : "nothing"))
        }
    }

    @Test("A missing manifest is reported with its digest, also if the layout has no other image")
    func missing() throws {
        let bad = try make(.missingManifest)
        let other = try builder.image([LayerBuilder(.file("other"))])
        try builder.removeBlob(other)
        for (manifests, selector) in [
            ([bad], Selector()), ([bad, good], Selector(reference: "bad")),
            ([good, bad], Selector(position: 1)),
            ([other, bad], Selector(digest: bad.digest)),
        ] {
            try builder.writeIndex(manifests)
            guard case .blobMissing(bad.digest) = failure(try ImageLayout(opening: builder.path), selector)
            else {
                Issue.record("another failure")
                continue
            }
        }
    }

    @Test("The outline has the failure of an unreadable document", arguments: Wrong.allCases)
    func outline(wrong: Wrong) throws {
        try builder.writeIndex([try make(wrong), good])
        let outline = try ImageLayout(opening: builder.path).outline()
        #expect(outline.count == 2)
        guard case .image(.host) = outline[1].kind else {
            Issue.record("\(outline[1].kind)")
            return
        }
        switch (wrong, outline[0].kind) {
        case (.signature, .artifact), (.artifact, .artifact), (.cache, .index), (.noLayers, .image),
            (.missingManifest, .absent):
            break
        case (_, .unreadable(let failure)): #expect(kind(failure) == wrong.kind)
        default: Issue.record("\(outline[0].kind)")
        }
        #expect((outline[0].failure == nil) == [.signature, .artifact, .cache, .noLayers].contains(wrong))
    }

    @Test("An archive that is truncated before a document is reported as damaged")
    func brokenArchive() throws {
        try builder.writeIndex([good.named("good"), try make(.damagedConfig)])
        let members = try builder.members()
        let blobs = members.filter { $0.path.description.hasPrefix("blobs/sha256/") && $0.type == 0x30 }
        let rest = members.filter { member in !blobs.contains { $0.path == member.path } }
        let tar = LayerBuilder(rest + blobs).tar
        // Truncated within the content of the last blob, before the two zero blocks.
        let file = try directory.write("cut.tar.gz", storedGzip(Array(tar[..<(tar.count - 1024 - 511)])))
        let failure = failure(
            try ImageLayout(opening: ImageSource(file), in: directory.path), Selector(reference: "bad"))
        #expect(kind(failure) == "unreadable")
    }

    // MARK: docker-archive

    private func archive(_ members: [TarEntry]) throws -> ImageLayout {
        try ImageLayout(opening: ImageSource(try directory.write("docker.tar", LayerBuilder(members).tar)))
    }

    @Test("An unreadable image of a docker-archive does not affect the others", arguments: [false, true])
    func docker(isFirst: Bool) throws {
        let good = DockerArchiveBuilder(["good:1"], [LayerBuilder(.file("good"))])
        let bad = DockerArchiveBuilder(["bad:1"], [LayerBuilder(.file("bad"))])
        let manifest = try DockerArchiveBuilder.manifest(isFirst ? [bad, good] : [good, bad])
        let config = bad.members[0].path
        let wrongs: [([TarEntry], String)] = [
            ([bad.members[1]], "notALayout"), ([bad.members[0]], "notALayout"),
            ([.file(config, "{"), bad.members[1]], "document"),
            ([.directory(config), bad.members[1]], "unreadable"),
            (bad.members + [bad.members[0]], "notALayout"),
            (
                [.file(config, #"{"rootfs": {"type": "layers", "diff_ids": []}}"#), bad.members[1]],
                "document"
            ),
        ]
        for (members, expected) in wrongs {
            let layout = try archive(good.members + members + [manifest])
            let number = isFirst ? 0 : 1
            for way in [Selector(reference: "good:1"), Selector(position: 1 - number)] {
                #expect(try layout.load(try layout.select(way).descriptor).config.rootfs.diffIDs.count == 1)
            }
            try layout.finish()
            for way in [Selector(reference: "bad:1"), Selector(position: number)] {
                #expect(kind(failure(layout, way)) == expected)
            }
        }
    }

    @Test("An invalid item in a docker-archive's manifest.json keeps its position")
    func dockerItems() throws {
        let good = DockerArchiveBuilder(["good:1"], [LayerBuilder(.file("good"))])
        let item = String(decoding: try DockerArchiveBuilder.manifest([good]).contents.array, as: UTF8.self)
        for bad in ["null", "7", "{}", #"{"Config": null}"#, #"{"config": ["x"]}"#] {
            let text = "[\(bad), \(item.dropFirst().dropLast())]"
            let layout = try archive(good.members + [.file("manifest.json", Bytes(text))])
            #expect(try layout.select(Selector()).references.contains("good:1"))
            #expect(failure(layout, Selector(position: 1)) == nil)
            let refused = failure(layout, Selector(position: 0))
            guard case .document("manifest.json", let reason) = refused else {
                Issue.record("\(refused.map { "\($0)" } ?? "nothing")")
                continue
            }
            #expect(reason.hasPrefix("[0]"), "\(reason)")
        }
    }

    @Test("The keys of old versions of jib are read: config, repoTags, layers")
    func jib() throws {
        let image = DockerArchiveBuilder(["a:1"], [LayerBuilder(.file("a"))])
        let text =
            #"[{"config": "\#(image.configName)", "repoTags": ["a:1"], "layers": ["\#(image.layerNames[0])"]}]"#
        let layout = try archive(image.members + [.file("manifest.json", Bytes(text))])
        #expect(try layout.load(try layout.select(Selector(reference: "a:1")).descriptor).steps.count == 1)
    }
}

extension LayoutFailure: CustomTestStringConvertible {
    public var testDescription: String { kind(self) }
}
