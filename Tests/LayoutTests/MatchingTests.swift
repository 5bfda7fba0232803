import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

private func platform(_ text: String) throws -> Platform { try Platform(parsing: text) }

@Suite("Several matching manifests") struct MatchingTests {
    private let directory: TemporaryDirectory
    private let builder: ImageBuilder
    private let layer = LayerBuilder(.file("a"))

    init() throws {
        directory = try TemporaryDirectory()
        builder = try ImageBuilder(at: directory.path.appending("layout"))
    }

    private func select(_ manifests: [Descriptor], _ selector: Selector = Selector()) throws -> Candidate {
        try builder.writeIndex(manifests)
        return try ImageLayout(opening: builder.path).select(selector)
    }

    private func failure(_ manifests: [Descriptor], _ selector: Selector = Selector()) -> LayoutFailure? {
        #expect(throws: LayoutFailure.self) { try select(manifests, selector) }
    }

    // MARK: One image in two forms

    @Test(
        "Manifests with the same config are one image, and the first is selected", arguments: [false, true])
    func twins(isReversed: Bool) throws {
        let twins = try [Packing.gzip, .zstd].map { try builder.image([layer], packing: $0).on(.host) }
        #expect(twins[0].digest != twins[1].digest)
        let ordered = isReversed ? twins.reversed() : twins
        #expect(try select(ordered).descriptor.digest == ordered[0].digest)
        let index = try builder.index(ordered)
        #expect(
            try select([index.named("a")], Selector(reference: "a")).descriptor.digest == ordered[0].digest)
        let chosen = try select([ordered[0].named("a"), ordered[1].named("b")], Selector(reference: "b"))
        #expect(chosen.descriptor.digest == ordered[1].digest && chosen.name == "b")
    }

    @Test("Of manifests with the same config the first with all blobs is selected")
    func firstReadable() throws {
        let twins = try [Packing.gzip, .zstd, .none].map { try builder.image([layer], packing: $0).on(.host) }
        try builder.removeBlob(try builder.layer(layer, .gzip))
        #expect(try select(twins).descriptor.digest == twins[1].digest)
        // A layer with an unknown media type cannot be read.
        let config = try builder.config(.host, [layer.diffID])
        let encrypted = try builder.manifest(
            config,
            [try builder.blob([1], MediaType(rawValue: Packing.gzip.mediaType.rawValue + "+encrypted"))])
        #expect(try select([encrypted.on(.host), twins[2]]).descriptor.digest == twins[2].digest)
        try builder.removeBlob(twins[0])
        #expect(try select(twins).descriptor.digest == twins[1].digest)
        // If none can be read, the first is selected, and loading it fails with the reason.
        try builder.removeBlob(try builder.layer(layer, .zstd))
        #expect(try select([twins[1], encrypted.on(.host)]).descriptor.digest == twins[1].digest)
    }

    @Test("Images with different configs are ambiguous")
    func several() throws {
        let one = try builder.image([layer]).on(.host)
        let other = try builder.image([LayerBuilder(.file("b"))]).on(.host)
        #expect(kind(failure([one, other])) == "ambiguous")
        // Missing manifests of a sparse layout and artifacts do not count.
        let type = MediaType(rawValue: "application/vnd.example")
        let artifact = try builder.manifest(try builder.blob([1], type), []).on(.host)
        #expect(try select([artifact, one]).descriptor.digest == one.digest)
        try builder.removeBlob(other)
        #expect(try select([other, one]).descriptor.digest == one.digest)
    }

    // MARK: Platforms

    @Test("Missing parts of a platform in the index are taken from the config")
    func deferred() throws {
        let config = try builder.config(try platform("linux/arm64"), [layer.diffID])
        let image = try builder.manifest(config, [try builder.layer(layer)])
        for stated in [Platform.unspecified, try platform("linux/any"), try platform("any/arm64")] {
            let descriptor = image.on(stated)
            #expect(
                try select([descriptor], Selector(platform: try platform("linux/arm64"))).platform
                    == (try platform("linux/arm64")))
            #expect(
                kind(failure([descriptor], Selector(platform: try platform("linux/amd64")))) == "noPlatform")
        }
    }

    @Test("An image without a declared platform matches any platform if no other image matches")
    func anyPlatform() throws {
        let bare = try builder.manifest(
            try builder.config(.unspecified, [layer.diffID]), [try builder.layer(layer)])
        for descriptor in [bare, bare.on(.unspecified)] {
            for wanted in [nil, try platform("linux/riscv64"), try platform("windows/amd64")] {
                #expect(try select([descriptor], Selector(platform: wanted)).descriptor.digest == bare.digest)
            }
            let own = try builder.image([LayerBuilder(.file("own"))])
            #expect(try select([descriptor, own]).descriptor.digest == own.digest)
            #expect(
                try select([descriptor, own], Selector(platform: try platform("linux/s390x"))).descriptor
                    .digest
                    == bare.digest)
        }
    }

    @Test("An image that requires an OS feature does not match a platform without it")
    func features() throws {
        let plain = try builder.image([layer])
        let special = try builder.image([LayerBuilder(.file("b"))])
        let host = Platform.host
        let erofs = Platform(os: host.os, architecture: host.architecture, osFeatures: ["erofs"])
        let manifests = [special.on(erofs), plain.on(host)]
        #expect(try select(manifests).descriptor.digest == plain.digest)
        #expect(try select(manifests, Selector(platform: host)).descriptor.digest == plain.digest)
        #expect(try select(manifests, Selector(platform: erofs)).descriptor.digest == special.digest)
        #expect(kind(failure([special.on(erofs)])) == "noPlatform")
        let version = Platform(os: host.os, architecture: host.architecture, osVersion: "9.1")
        #expect(try select([special.on(version), plain.on(host)]).descriptor.digest == plain.digest)
        #expect(
            try select([special.on(version), plain.on(host)], Selector(platform: version)).descriptor.digest
                == special.digest)
        #expect(try select([special.on(version)]).descriptor.digest == special.digest)
    }

    @Test("The candidates of a failure have distinct platforms")
    func candidates() throws {
        let versions = try ["1", "2"].map { version in
            try builder.image([LayerBuilder(.file(Bytes(version)))])
                .on(Platform(os: "windows", architecture: "amd64", osVersion: "10.0.\(version)"))
        }
        guard
            case .ambiguous(let fitting)? = failure(
                versions, Selector(platform: try platform("windows/amd64")))
        else {
            Issue.record("not ambiguous")
            return
        }
        #expect(
            fitting.map(\.platform.description) == ["windows(10.0.1)/amd64", "windows(10.0.2)/amd64"])
        let wanted = Selector(platform: try platform("windows(10.0.2)/amd64"))
        #expect(try select(versions, wanted).descriptor.digest == versions[1].digest)
    }

    // MARK: Names

    @Test("The selected image has the requested name, by reference and by position")
    func askedName() throws {
        let index = try builder.index([try builder.image([layer]).on(.host)])
        let manifests = [index.named("first"), index.named("second")]
        #expect(try select(manifests, Selector(reference: "second")).name == "second")
        #expect(try select(manifests, Selector(reference: "first")).name == "first")
        #expect(try select(manifests, Selector(position: 1)).name == "second")
        #expect(try select(manifests).name == "first")
        let image = try builder.image([layer])
        let flat = [
            image.named("first"), image.named("second"),
            image.annotated("io.containerd.image.name", "docker.io/library/x:latest"),
        ]
        #expect(try select(flat, Selector(reference: "second")).name == "second")
        #expect(try select(flat, Selector(position: 1)).name == "second")
        #expect(try select(flat, Selector(reference: "x")).name == "x")
    }
}
