import Foundation
import Kernel
import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

@Suite("Opening an image") struct OpeningTests {
    @Test(
        "An invalid layout is rejected with a reason",
        arguments: [
            ("oci-layout", nil, "it has no oci-layout"), ("index.json", nil, "it has no index.json"),
            ("oci-layout", "", "it is empty"), ("oci-layout", #"{"imageLayoutVersion": "2.0"}"#, "2.0"),
            ("index.json", "{", "not valid JSON"), ("index.json", #"{"layers": []}"#, "at the same time"),
            ("index.json", #"{"manifests": [{"digest": "sha256:0", "size": 1}]}"#, "sha256:0"),
        ] as [(String, Bytes?, String)])
    func noLayout(name: String, contents: Bytes?, reason: String) throws {
        let directory = try TemporaryDirectory()
        let builder = try ImageBuilder(at: directory.path.appending("layout"))
        if let contents {
            try builder.write(name, contents)
        } else {
            try FileManager.default.removeItem(atPath: builder.path.appending(name).string)
        }
        let failure = #expect(throws: LayoutFailure.self) { try ImageLayout(opening: builder.path) }
        #expect(kind(failure) == "notALayout")
        #expect(failure.map { "\($0)".contains(reason) } == true, "\(String(describing: failure))")
    }

    @Test("A missing path, or one that does not fit its transport, is reported")
    func paths() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write("file", [])
        let missing = #expect(throws: LayoutFailure.self) {
            try ImageLayout(opening: directory.path.appending("x"))
        }
        #expect(kind(missing) == "notFound")
        let empty = #expect(throws: LayoutFailure.self) { try ImageLayout(opening: file) }
        #expect(kind(empty) == "notALayout")
        let wrong = #expect(throws: LayoutFailure.self) { try ImageLayout(opening: ImageSource(file, .oci)) }
        #expect(kind(wrong) == "notADirectory")
        let folder = #expect(throws: LayoutFailure.self) {
            try ImageLayout(opening: ImageSource(directory.path, .ociArchive))
        }
        #expect(kind(folder) == "isADirectory")
    }

    @Test("An index.json over the size limit is rejected")
    func endless() throws {
        let directory = try TemporaryDirectory()
        let builder = try ImageBuilder(at: directory.path.appending("layout"))
        let path = builder.path.appending("index.json").string
        try FileHandle(forWritingTo: URL(fileURLWithPath: path)).truncate(atOffset: 1 << 40)
        let failure = #expect(throws: LayoutFailure.self) { try ImageLayout(opening: builder.path) }
        #expect(kind(failure) == "documentTooLarge")
    }

    private static let digest = "sha256:\(String(repeating: "0", count: 64))"

    /// The only existing paths.
    private static let present: Set<FilePath> = ["img", "a/b:c", "host:5000/img", "img@home", "x:y"]

    @Test(
        "An argument is a path, optionally with a reference or a digest",
        arguments: [
            ("img", "img", nil, nil),
            ("img:1.0", "img", "1.0", nil),
            ("img:docker.io/library/busybox:1.37", "img", "docker.io/library/busybox:1.37", nil),
            ("img:", "img", "", nil),
            ("img@\(digest)", "img", nil, digest),
            ("img@home", "img@home", nil, nil),
            ("img@home@\(digest)", "img@home", nil, digest),
            ("img@home:1.0", "img@home", "1.0", nil),
            ("a/b:c", "a/b:c", nil, nil),
            ("a/b:c:latest", "a/b:c", "latest", nil),
            ("host:5000/img:tag", "host:5000/img", "tag", nil),
            ("x:y", "x:y", nil, nil),
            ("missing", "missing", nil, nil),
            ("missing:tag", "missing:tag", nil, nil),
            ("img:user@host", "img", "user@host", nil),
        ])
    func arguments(text: String, path: String, reference: String?, digest: String?) throws {
        let argument = try ImageArgument(parsing: text) { Self.present.contains($0) }
        #expect(argument.source == ImageSource(FilePath(path)))
        #expect(argument.reference == reference)
        #expect(argument.digest?.description == digest)
        #expect(argument.position == nil)
    }

    @Test(
        "Transports of skopeo and the position of an image are parsed",
        arguments: [
            ("oci:img", .oci, "img", nil, nil), ("oci:img:1.0", .oci, "img", "1.0", nil),
            ("oci:img:@2", .oci, "img", nil, 2), ("img@2", nil, "img", nil, 2),
            ("img:@2", nil, "img", nil, 2),
            ("oci-archive:img:host:5000/x:1", .ociArchive, "img", "host:5000/x:1", nil),
            ("docker-archive:img:busybox:1.37", .dockerArchive, "img", "busybox:1.37", nil),
            ("docker-archive:img:@0", .dockerArchive, "img", nil, 0),
            ("oci:missing:tag", .oci, "missing", nil, nil), ("-", nil, "-", nil, nil),
            ("-:1.0", nil, "-", "1.0", nil), ("docker-archive:-:@1", .dockerArchive, "-", nil, 1),
            ("img:@home", nil, "img", "@home", nil),
        ] as [(String, ImageSource.Transport?, FilePath, String?, Int?)])
    func transports(
        text: String, transport: ImageSource.Transport?, path: FilePath, reference: String?, position: Int?
    ) throws {
        let argument = try ImageArgument(parsing: text) { Self.present.contains($0) }
        #expect(argument.source == ImageSource(path, transport))
        #expect(argument.reference == reference)
        #expect(argument.position == position)
    }

    @Test(
        "An unsupported transport is reported", arguments: ["docker://debian:12", "dir:img"])
    func foreign(text: String) throws {
        let foreign = #expect(throws: UnsupportedTransport.self) {
            try ImageArgument(parsing: text) { Self.present.contains($0) }
        }
        #expect(foreign?.text == text)
    }

    @Test("A malformed digest is rejected", arguments: ["img@sha256:12", "img@md5:00", "img@"])
    func wrongDigest(text: String) {
        #expect(throws: Digest.ParseError.self) {
            try ImageArgument(parsing: text) { Self.present.contains($0) }
        }
    }
}
