import Kernel
import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

/// A stream that returns a few bytes at a time.
private struct Trickle: BlobStream {
    let bytes: [UInt8]
    let step: Int
    /// The offset where the stream fails.
    var end = Int.max

    func read(into buffer: inout [UInt8], limit: Int, at position: Int64) throws(LayoutFailure) {
        if position >= end { throw .blobUnreadable(sha256(of: bytes), reason: "the stream broke off") }
        buffer = Array(bytes[Int(position)...].prefix(min(limit, step)))
    }
}

@Suite("Blob sources") struct BlobSourceTests {
    private let contents = Bytes.noise(3000).array
    private var blob: Descriptor {
        Descriptor(mediaType: Packing.none.mediaType, digest: sha256(of: contents), size: 3000)
    }

    private func read(_ blob: consuming VerifiedBlob, limit: Int = 1024) throws -> (all: [UInt8], first: Int)
    {
        var all = [UInt8]()
        var first: Int?
        var chunk = [UInt8]()
        repeat {
            try blob.read(into: &chunk, limit: limit)
            first = first ?? chunk.count
            all += chunk
        } while !chunk.isEmpty
        try blob.finish()
        return (all, first ?? 0)
    }

    @Test(
        "A stream is read completely and verified, and its first read is long enough to detect the format",
        arguments: [1, 7, 600, 4096])
    func streams(step: Int) throws {
        let (all, first) = try read(VerifiedBlob(blob, from: Trickle(bytes: contents, step: step)))
        #expect(all == contents)
        #expect((512...1024).contains(first))
        let few = try read(VerifiedBlob(blob, from: Trickle(bytes: contents, step: step)), limit: 100)
        #expect(few.all == contents && few.first == 100)
    }

    @Test("A blob shorter than a block is read")
    func short() throws {
        let bytes: [UInt8] = [1, 2, 3]
        let blob = Descriptor(mediaType: Packing.none.mediaType, digest: sha256(of: bytes), size: 3)
        #expect(try read(VerifiedBlob(blob, from: Trickle(bytes: bytes, step: 2))).all == bytes)
    }

    @Test("A stream that does not match its descriptor, or breaks off, is rejected")
    func wrong() {
        var other = contents
        other[2999] ^= 1
        #expect(failure(Trickle(bytes: other, step: 1000)) == "wrongDigest")
        #expect(failure(Trickle(bytes: contents + [0], step: 1000)) == "wrongSize")
        #expect(failure(Trickle(bytes: contents.dropLast(), step: 1000)) == "wrongSize")
        #expect(failure(Trickle(bytes: contents, step: 1000, end: 2000)) == "blobUnreadable")
    }

    private func failure(_ stream: Trickle) -> String {
        do {
            _ = try read(VerifiedBlob(blob, from: stream))
            return "nothing"
        } catch {
            return kind(error as? LayoutFailure)
        }
    }

    @Test("Blobs are read from a directory without a layout")
    func folder() throws {
        let temporary = try TemporaryDirectory()
        let builder = try ImageBuilder(at: temporary.path.appending("layout"))
        let descriptor = try builder.blob(contents, Packing.none.mediaType)
        let folder = BlobDirectory(try Directory(opening: builder.path.appending("blobs")))
        #expect(try read(try folder.open(descriptor)).all == contents)
        let missing = Descriptor(mediaType: descriptor.mediaType, digest: sha256(of: []), size: 0)
        do throws(LayoutFailure) {
            _ = try folder.open(missing)
            Issue.record("nothing was thrown")
        } catch {
            #expect(kind(error) == "blobMissing")
        }
    }
}
