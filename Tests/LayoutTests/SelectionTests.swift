import Kernel
import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

private let amd64 = Platform(os: "linux", architecture: "amd64")
private let arm64 = Platform(os: "linux", architecture: "arm64")
private let arm6 = Platform(os: "linux", architecture: "arm", variant: "v6")
private func level(_ level: Int) -> Platform {
    Platform(os: "linux", architecture: "amd64", variant: "v\(level)")
}
private let unknown = Platform(os: "unknown", architecture: "unknown")

/// A layout with several images in several forms.
private final class Library: Sendable {
    let directory: TemporaryDirectory
    let layout: ImageLayout
    let images: [String: Descriptor]

    init() throws {
        directory = try TemporaryDirectory()
        let builder = try ImageBuilder(at: directory.path.appending("layout"))
        func image(_ name: String, _ platform: Platform) throws -> Descriptor {
            try builder.image([LayerBuilder(.file(Bytes(name)))], platform)
        }
        let single = try image("single", amd64)
        let one = try image("one", amd64)
        let two = try image("two", arm64)
        let six = try image("six", arm6)
        let level3 = try image("level3", level(3))
        let absent = try image("absent", amd64)
        try builder.removeBlob(absent)
        let attestation = try builder.blob(Array("{}".utf8), .ociManifest)
        let artifact = try builder.manifest(
            try builder.blob(Array("{}".utf8), MediaType(rawValue: "application/vnd.example")), [])
        let multi = try builder.index([
            one.on(amd64), two.on(arm64), six.on(arm6), attestation.on(unknown),
            attestation.on(amd64).annotated("vnd.docker.reference.type", "attestation-manifest"),
        ])
        let outer = try builder.index([
            multi, level3.on(level(3)),
        ])
        let sparse = try builder.index([absent.on(amd64), two.on(arm64)])
        try builder.removeBlob(sparse)
        let config = try builder.config(amd64, [])
        let half = try builder.manifest(config, [])
        try builder.removeBlob(config)
        try builder.writeIndex([
            single.named("single"), multi.named("multi"), multi.named("multi:latest"), outer.named("outer"),
            one.named("twice").on(amd64), single.named("twice").on(amd64), absent.named("absent"),
            sparse.named("sparse"), half.named("half"), artifact.named("artifact"),
            single.annotated("io.containerd.image.name", "docker.io/library/single:1.0"),
        ])
        layout = try ImageLayout(opening: builder.path)
        images = [
            "single": single, "one": one, "two": two, "six": six, "level3": level3, "multi": multi,
            "outer": outer,
        ]
    }

    func name(of digest: Digest) -> String? { images.first { $0.value.digest == digest }?.key }
}

@Suite("Selection of an image") struct SelectionTests {
    private let library: Library
    init() throws { library = try Library() }

    @Test(
        "A reference and a platform select one image",
        arguments: [
            ("single", amd64, "single"),
            ("docker.io/library/single:1.0", amd64, "single"),
            ("multi", amd64, "one"), ("multi", arm64, "two"), ("multi", arm6, "six"),
            ("multi:latest", amd64, "one"), ("multi:latest", arm6, "six"),
            ("multi", Platform(os: "linux", architecture: "arm"), "six"),
            ("outer", amd64, "one"), ("outer", arm64, "two"),
            ("outer", level(2), "one"), ("outer", level(3), "level3"), ("outer", level(4), "level3"),
        ])
    func byReference(reference: String, platform: Platform, expected: String) throws {
        let chosen = try library.layout.select(Selector(reference: reference, platform: platform))
        #expect(library.name(of: chosen.descriptor.digest) == expected)
        #expect(chosen.references.contains(reference))
    }

    @Test(
        "A digest selects a manifest, or an index that contains it",
        arguments: [
            ("single", amd64, "single"), ("two", arm64, "two"), ("multi", arm64, "two"),
            ("outer", arm6, "six"),
        ])
    func byDigest(name: String, platform: Platform, expected: String) throws {
        let digest = try #require(library.images[name]?.digest)
        let chosen = try library.layout.select(Selector(digest: digest, platform: platform))
        #expect(library.name(of: chosen.descriptor.digest) == expected)
    }

    enum Refusal: Sendable { case noReference, noDigest, noPlatform, ambiguous, blobMissing }

    @Test(
        "A selector that matches no image or several is rejected with the candidates",
        arguments: [
            (Selector(reference: "nothing", platform: amd64), .noReference),
            (Selector(reference: "sing", platform: amd64), .noReference),
            (Selector(reference: "sparse", platform: arm64), .blobMissing),
            (Selector(reference: "absent", platform: amd64), .blobMissing),
            (Selector(reference: "half", platform: amd64), .blobMissing),
            (Selector(reference: "artifact", platform: amd64), .noReference),
            (Selector(digest: sha256(of: [1]), platform: amd64), .noDigest),
            (Selector(reference: "single", platform: arm64), .noPlatform),
            (
                Selector(
                    reference: "multi", platform: Platform(os: "linux", architecture: "arm", variant: "v5")),
                .noPlatform
            ),
            (Selector(platform: Platform(os: "windows", architecture: "amd64")), .noPlatform),
            (Selector(reference: "twice", platform: amd64), .ambiguous),
            (Selector(platform: amd64), .ambiguous),
        ] as [(Selector, Refusal)])
    func refuses(selector: Selector, refusal: Refusal) {
        let failure = #expect(throws: LayoutFailure.self) { try library.layout.select(selector) }
        switch (failure, refusal) {
        case (.noReference(_, let candidates), .noReference), (.noDigest(_, let candidates), .noDigest),
            (.noPlatform(_, let candidates), .noPlatform), (.ambiguous(let candidates), .ambiguous):
            #expect(!candidates.isEmpty)
        case (.blobMissing, .blobMissing): break
        default: Issue.record("\(failure.map { "\($0)" } ?? "nothing thrown")")
        }
    }

    @Test("A layout with one image needs no selector")
    func only() throws {
        let directory = try TemporaryDirectory()
        let builder = try ImageBuilder(at: directory.path.appending("layout"))
        let image = try builder.image([LayerBuilder(.file("a"))])
        try builder.writeIndex([image, image.named("again")])
        let chosen = try ImageLayout(opening: builder.path).select(Selector())
        #expect(chosen.descriptor.digest == image.digest)
        #expect(chosen.platform == .host)
        #expect(try ImageLayout(opening: builder.path).load(chosen.descriptor).steps.count == 1)
    }

    @Test("An empty layout has no image")
    func empty() throws {
        let directory = try TemporaryDirectory()
        let builder = try ImageBuilder(at: directory.path.appending("layout"))
        let layout = try ImageLayout(opening: builder.path)
        let failure = #expect(throws: LayoutFailure.self) { try layout.select(Selector()) }
        #expect(kind(failure) == "noImage")
    }

    private func layout(_ build: (ImageBuilder) throws -> [Descriptor]) throws -> ImageLayout {
        let name = "layout-\(UInt32.random(in: .min ... .max))"
        let builder = try ImageBuilder(at: library.directory.path.appending(name))
        try builder.writeIndex(try build(builder))
        return try ImageLayout(opening: builder.path)
    }

    private static let machines: [([Int], machine: Int, expected: Int?)] = [
        ([1, 2, 3, 4], 4, 4), ([1, 2, 3, 4], 3, 3), ([1, 2, 3, 4], 1, 1), ([1, 2], 4, 2), ([1], 3, 1),
        ([1, 4], 3, 1), ([2, 3], 2, 2), ([3, 4], 2, nil), ([2], 1, nil),
    ]

    @Test(
        "A machine gets the image for the highest architecture level up to its own", arguments: machines)
    func levels(_ images: [Int], machine: Int, expected: Int?) throws {
        let layout = try layout { builder in
            try images.map { try builder.image([LayerBuilder(.file(Bytes("\($0)")))], level($0)) }
        }
        do {
            let fitting = try layout.matches(for: Selector(), on: level(machine))
            #expect(fitting.map(\.platform) == expected.map { [level($0)] })
        } catch {
            guard case .noPlatform(let wanted, let candidates) = error else { throw error }
            #expect(expected == nil)
            #expect(wanted == level(machine))
            #expect(candidates.map(\.platform) == images.map(level))
        }
    }

    @Test("A platform without a variant selects the lowest level that exists")
    func baseline() throws {
        for (images, expected) in [([1, 2, 3], 1), ([2, 3], 2), ([4], 4)] {
            let layout = try layout { builder in
                try images.reversed().map {
                    try builder.image([LayerBuilder(.file(Bytes("\($0)")))], level($0))
                }
            }
            #expect(try layout.select(Selector(platform: amd64)).platform == level(expected))
        }
    }

    @Test("A better architecture level of one image does not resolve an ambiguity")
    func levelsOfSeveralImages() throws {
        let layout = try layout { builder in
            let images = try (1...3).map {
                try builder.image([LayerBuilder(.file(Bytes("\($0)")))], level($0))
            }
            return [
                images[0].named("first"), images[1].named("first"), images[0].named("second"),
                images[2].named("third").annotated("io.containerd.image.name", "second"),
            ]
        }
        func fitting(_ machine: Int, _ reference: String? = nil) throws -> [String] {
            try layout.matches(for: Selector(reference: reference), on: level(machine)).map {
                "\($0.references.joined(separator: "+")) \($0.platform)"
            }
        }
        #expect(try fitting(1) == ["first linux/amd64", "second linux/amd64"])
        #expect(try fitting(2) == ["first linux/amd64/v2", "second linux/amd64"])
        #expect(try fitting(3) == ["first linux/amd64/v2", "third+second linux/amd64/v3"])
        #expect(try fitting(3, "second") == ["third+second linux/amd64/v3"])
        let refused = #expect(throws: LayoutFailure.self) { try fitting(2, "third") }
        #expect(kind(refused) == "noPlatform")
    }

    @Test("The machine's platform matches the host platform")
    func machine() {
        #expect(Platform.machine.distance(to: .host, allowsHigherLevels: false) != nil)
        #expect(Platform.machine.os == "linux")
    }
}
