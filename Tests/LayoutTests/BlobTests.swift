import Foundation
import Kernel
import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

@Suite("Blobs of a layout") struct BlobTests {
    private let directory: TemporaryDirectory
    private let builder: ImageBuilder
    private let blob: Descriptor
    private let contents = Bytes.noise(300_000).array

    init() throws {
        directory = try TemporaryDirectory()
        builder = try ImageBuilder(at: directory.path.appending("layout"))
        blob = try builder.blob(contents, Packing.none.mediaType)
    }

    private func read(_ descriptor: Descriptor) throws -> [UInt8] {
        var blob = try ImageLayout(opening: builder.path).open(descriptor)
        var bytes = [UInt8]()
        var chunk = [UInt8]()
        repeat {
            try blob.read(into: &chunk, limit: 1000)
            bytes += chunk
        } while !chunk.isEmpty
        try blob.finish()
        return bytes
    }

    @Test("A blob is read completely and verified, also through symlinks")
    func reads() throws {
        #expect(try read(blob) == contents)
        let path = builder.blobPath(blob.digest).string
        try FileManager.default.moveItem(atPath: path, toPath: directory.path.appending("elsewhere").string)
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "../../../elsewhere")
        #expect(try read(blob) == contents)
    }

    @Test("Bytes that were not read are verified in finish")
    func unread() throws {
        try builder.damageBlob(blob) { $0[299_999] ^= 1 }
        let opened = try ImageLayout(opening: builder.path).open(blob)
        do {
            try opened.finish()
            Issue.record("nothing was thrown")
        } catch {
            #expect(kind(error) == "wrongDigest")
        }
    }

    @Test(
        "A blob that does not match its descriptor is rejected",
        arguments: [
            ("nothing", "blobMissing"), ("a directory", "blobNotAFile"), ("a FIFO", "blobNotAFile"),
            ("a link to /dev/null", "blobNotAFile"), ("a link to nothing", "blobMissing"),
            ("shorter", "wrongSize"),
            ("longer", "wrongSize"), ("another byte", "wrongDigest"),
        ], [true, false])
    func refuses(_ damage: (what: String, failure: String), readsAll: Bool) throws {
        let what = damage.what
        let files = FileManager.default
        let path = builder.blobPath(blob.digest)
        if !["shorter", "longer", "another byte"].contains(what) {
            try files.removeItem(atPath: path.string)
        }
        switch what {
        case "a directory": try files.createDirectory(atPath: path.string, withIntermediateDirectories: false)
        case "a FIFO":
            try Directory(opening: path.removingLastComponent()).makeNode(
                FileName(literal: blob.digest.hex), .fifo, mode: 0o600)
        case "a link to /dev/null":
            try files.createSymbolicLink(atPath: path.string, withDestinationPath: "/dev/null")
        case "a link to nothing":
            try files.createSymbolicLink(atPath: path.string, withDestinationPath: "nothing")
        case "shorter": try builder.damageBlob(blob) { $0.removeLast() }
        case "longer": try builder.damageBlob(blob) { $0.append(0) }
        case "another byte": try builder.damageBlob(blob) { $0[150_000] ^= 1 }
        default: break
        }
        // Only reading detects a changed byte.
        if !readsAll, what == "another byte" {
            return try ImageLayout(opening: builder.path).check(blob)
        }
        let failure = #expect(throws: LayoutFailure.self) {
            if readsAll { _ = try read(blob) } else { try ImageLayout(opening: builder.path).check(blob) }
        }
        #expect(kind(failure) == damage.failure)
    }

    @Test("A blob that grows while it is read is rejected")
    func grows() throws {
        var opened = try ImageLayout(opening: builder.path).open(blob)
        var chunk = [UInt8]()
        try opened.read(into: &chunk, limit: 1000)
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: builder.blobPath(blob.digest).string))
        try file.seekToEnd()
        try file.write(contentsOf: [1])
        do {
            try opened.finish()
            Issue.record("nothing was thrown")
        } catch {
            #expect(kind(error) == "wrongSize")
        }
    }

    @Test("A document over its size limit is rejected without being read")
    func tooLarge() throws {
        let layout = try ImageLayout(opening: builder.path)
        let large = Descriptor(
            mediaType: .ociManifest, digest: blob.digest, size: ImageLayout.largestDocument + 1)
        #expect(
            kind(#expect(throws: LayoutFailure.self) { try layout.readManifest(large) }) == "documentTooLarge"
        )
        #expect(
            kind(#expect(throws: LayoutFailure.self) { try layout.readConfig(large) }) == "documentTooLarge")
        #expect(kind(#expect(throws: LayoutFailure.self) { try layout.readIndex(large) }) == "wrongSize")
        let larger = Descriptor(mediaType: .ociIndex, digest: blob.digest, size: ImageLayout.largestIndex + 1)
        #expect(
            kind(#expect(throws: LayoutFailure.self) { try layout.readIndex(larger) }) == "documentTooLarge")
    }

    @Test("A damaged manifest or config is detected by its digest")
    func damagedDocument() throws {
        let image = try builder.image([LayerBuilder(.file("a"))])
        try builder.writeIndex([image])
        let layout = try ImageLayout(opening: builder.path)
        let config = try layout.load(image).manifest.config
        try builder.damageBlob(config) { $0[5] ^= 1 }
        #expect(kind(#expect(throws: LayoutFailure.self) { try layout.load(image) }) == "wrongDigest")
        try builder.damageBlob(image) { $0[5] ^= 1 }
        #expect(kind(#expect(throws: LayoutFailure.self) { try layout.load(image) }) == "wrongDigest")
    }

    @Test("A descriptor that is not an image is rejected when it is loaded")
    func artifacts() throws {
        let artifact = try builder.manifest(blob, [])
        let counts = try builder.image([LayerBuilder(.file("a"))], diffIDs: [])
        let invalid = try builder.blob(Array("{".utf8), .ociManifest)
        let layout = try ImageLayout(opening: builder.path)
        for (descriptor, expected) in [
            (artifact, "notAnImage"), (counts, "document"), (invalid, "document"),
        ] {
            let failure = #expect(throws: LayoutFailure.self) { try layout.load(descriptor) }
            #expect(kind(failure) == expected)
        }
    }
}

@Suite("Blobs named by sha512") struct LongDigestTests {
    @Test("An image with sha512 digests is found, read and verified")
    func image() throws {
        let directory = try TemporaryDirectory()
        let builder = try ImageBuilder(at: directory.path.appending("layout"), .sha512)
        let layers = [LayerBuilder(.file("a")), LayerBuilder(.file("b"))]
        try builder.writeIndex([try builder.index([try builder.image(layers)])])
        let layout = try ImageLayout(opening: builder.path)
        let image = try layout.load(try layout.select(Selector()).descriptor)
        #expect(image.steps.map(\.diffID) == layers.map { $0.diffID(.sha512) })
        #expect(image.steps.map(\.chainID.digest.algorithm) == [.sha512, .sha256])
        for step in image.steps {
            #expect(step.descriptor.digest.algorithm == .sha512)
            try layout.open(step.descriptor).finish()
        }
        try builder.damageBlob(image.steps[1].descriptor) { $0[20] ^= 1 }
        let failure = #expect(throws: LayoutFailure.self) {
            try layout.open(image.steps[1].descriptor).finish()
        }
        #expect(kind(failure) == "wrongDigest")
    }
}
