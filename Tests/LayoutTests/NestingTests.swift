import Kernel
import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

private let amd64 = Platform(os: "linux", architecture: "amd64")

@Suite("Nested indexes") struct NestingTests {
    private let directory: TemporaryDirectory
    private let builder: ImageBuilder
    private let image: Descriptor

    init() throws {
        directory = try TemporaryDirectory()
        builder = try ImageBuilder(at: directory.path.appending("layout"))
        image = try builder.image([LayerBuilder(.file("a"))], amd64).on(amd64)
    }

    private func candidates(_ manifests: [Descriptor]) throws -> [Candidate] {
        try builder.writeIndex(manifests)
        return try ImageLayout(opening: builder.path).candidates()
    }

    @Test("A hundred indexes that list each other twice are each read once")
    func doubled() throws {
        var index = image
        for _ in 0..<100 { index = try builder.index([index, index.annotated("x", "y")]) }
        let found = try candidates([index.named("deep")])
        // The innermost index lists the image twice.
        #expect(found.map(\.descriptor.digest) == [image.digest, image.digest])
        #expect(found.allSatisfy { $0.references == ["deep"] })
    }

    /// Wraps a descriptor in nested indexes.
    private func wrap(_ descriptor: Descriptor, times: Int) throws -> Descriptor {
        var descriptor = descriptor
        for _ in 0..<times { descriptor = try builder.index([descriptor]) }
        return descriptor
    }

    @Test("A chain of indexes is followed to its end, and the image inherits the name of the first")
    func chain() throws {
        let found = try candidates([try wrap(image, times: 2_000).named("deep")])
        #expect(found.map(\.references) == [["deep"]])
        #expect(found.map(\.descriptor.digest) == [image.digest])
    }

    @Test("The outline of nested indexes ends at a depth, and a failure is found in linear time")
    func outline() throws {
        let absent = Descriptor(mediaType: .ociManifest, digest: sha256(of: [1]), size: 7)
        try builder.writeIndex([try wrap(absent, times: 60)])
        guard case .blobMissing(absent.digest) = try ImageLayout(opening: builder.path).outline().firstFailure
        else {
            Issue.record("the innermost manifest is missing")
            return
        }
        try builder.writeIndex([try wrap(image, times: 3_000)])
        let failure = try ImageLayout(opening: builder.path).outline().firstFailure
        guard case .document(_, "it is nested in more than 64 indexes") = failure else {
            Issue.record("\(failure.map { "\($0)" } ?? "no failure")")
            return
        }
    }

    @Test("A layout with ten thousand documents is read, one with more is rejected")
    func manyDocuments() throws {
        let absent = Descriptor(mediaType: .ociIndex, digest: sha256(of: [1]), size: 7)
        let images = Array(repeating: image, count: 9_999)
        #expect(try candidates([absent] + images).count == 9_999)
        for more in [image, absent] {
            let failure = #expect(throws: LayoutFailure.self) { try candidates([absent] + images + [more]) }
            guard case .document("index.json", let reason) = failure else {
                Issue.record("\(failure.map { "\($0)" } ?? "nothing thrown")")
                continue
            }
            #expect(reason.contains("more than 10000 indexes and manifests"))
        }
    }

    @Test("Images inherit the names of all indexes that contain them, on any path")
    func names() throws {
        let inner = try builder.index([image.named("innermost")])
        let middle = try builder.index([inner.named("inner"), image])
        let outer = try builder.index([middle.named("middle")])
        let expected: Set = ["innermost", "inner", "middle", "outer", "again"]
        for manifests in [
            [outer.named("outer"), middle.named("again")], [middle.named("again"), outer.named("outer")],
        ] {
            let found = try candidates(manifests)
            #expect(
                found.map { Set($0.references) } == [expected.subtracting(["innermost", "inner"]), expected])
            let layout = try ImageLayout(opening: builder.path)
            for name in expected {
                let chosen = try layout.select(Selector(reference: name, platform: amd64))
                #expect(chosen.descriptor.digest == image.digest)
            }
            for index in [inner, middle, outer] {
                let chosen = try layout.select(Selector(digest: index.digest, platform: amd64))
                #expect(chosen.descriptor.digest == image.digest)
            }
        }
    }

    @Test("Too many inherited names are rejected")
    func manyNames() throws {
        let inner = try wrap(image, times: 50)
        let outer = try (0..<3_000).map { try builder.index([inner]).named("name-\($0)") }
        let failure = #expect(throws: LayoutFailure.self) { try candidates(outer) }
        #expect(failure.map { "\($0)".contains("more than 100000 names") } == true)
    }

    @Test("Documents that are too large in total are rejected")
    func total() throws {
        let fill = String(repeating: "x", count: 15 << 20)
        let indexes = try (0..<5).map { number in
            try builder.index([image.annotated("fill", "\(number)\(fill)")])
        }
        #expect(try candidates(Array(indexes[..<4])).count == 4)
        let failure = #expect(throws: LayoutFailure.self) { try candidates(indexes) }
        #expect(failure.map { "\($0)".contains("more than 67108864 bytes of documents") } == true)
    }
}
