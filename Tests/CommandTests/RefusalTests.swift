import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// A layer that is refused although its blob matches its digest, and the expected message.
struct RefusedLayer: Sendable, CustomStringConvertible {
    let message: String
    let blob: [UInt8]

    init(_ message: String, blob: [UInt8]) {
        self.message = message
        self.blob = blob
    }

    /// A layer with one valid entry of 1024 bytes before the given ones.
    init(_ message: String, _ entries: TarEntry..., end: LayerBuilder.End = .twoZeroBlocks, cut: Int = .max) {
        let layer = LayerBuilder([.file("before", "x")] + entries, end: end)
        self.init(message, blob: Array(layer.tar.prefix(cut)))
    }

    var description: String { message }
}

private let kilobyte = Bytes(String(repeating: "x", count: 1024))

private let largePax: TarEntry = {
    var entry = TarEntry("x", "PaxHeaders/f")
    entry.statedSize = 1 << 26
    return entry
}()

private func pax(_ text: String) -> TarEntry {
    var entry = TarEntry("x", "PaxHeaders/f")
    entry.contents = Bytes(text)
    return entry
}

private func damaged(_ blob: [UInt8], at position: Int) -> [UInt8] {
    var blob = blob
    blob[position] ^= 0x7F
    return blob
}

private let archives = [
    RefusedLayer("byte 1024 of the tar: a wrong header checksum", .file("f").withWrongChecksum()),
    RefusedLayer("byte 1024 of the tar: an unreadable size", .file("f").withSize(-1)),
    RefusedLayer(
        "byte 1024 of the tar: an extended header of 67108864 bytes, and at most 1048576 are read", largePax),
    RefusedLayer("byte 1024 of the tar: a malformed PAX record", pax("x"), .file("f")),
    RefusedLayer("byte 1024 of the tar: a time of 'tomorrow'", .file("f").pax("mtime", "tomorrow")),
    RefusedLayer(#"byte 1024 of the tar: a NUL in the name 'a\x00b'"#, .file("f").pax("path", "a\0b")),
    RefusedLayer("byte 2048 of the tar: a second PAX header for one entry", pax("6 a=b\n"), pax("6 a=b\n")),
    RefusedLayer("byte 1024 of the tar: an extended header without an entry", pax("6 a=b\n")),
    RefusedLayer("entry 'f', byte 1024 of the tar: unknown type 'Z'", .file("f").type(UInt8(ascii: "Z"))),
    RefusedLayer(#"entry 'f', byte 1024 of the tar: unknown type '\xff'"#, .file("f").type(0xFF)),
    RefusedLayer(
        "entry 'd/l', byte 2560 of the tar: an entry without content has a body of 3 bytes", .directory("d"),
        .hardLink("d/l", to: "x").pax("size", "3")),
    RefusedLayer(
        "entry 'f', byte 1024 of the tar: owner 4294967295 is out of range", .file("f").owned(-1 + 1 << 32, 0)
    ),
    RefusedLayer("entry 'f', byte 2048 of the tar: group -1 is out of range", .file("f").pax("gid", "-1")),
    RefusedLayer(
        "entry 'c', byte 1024 of the tar: device major 4096 is out of range", .character("c", 4096, 0)),
    RefusedLayer("entry 'l', byte 1024 of the tar: a symlink without a target", .symlink("l", to: "")),
    RefusedLayer(
        "entry 'l', byte 1024 of the tar: a hard link to '': the name is empty", .hardLink("l", to: "")),
    RefusedLayer("entry '', byte 1024 of the tar: the name is empty", .file("")),
    RefusedLayer(
        "entry '*nnn', byte 2048 of the tar: a component is over 255 bytes long",
        .file(Bytes(String(repeating: "n", count: 256)))),
    RefusedLayer(
        #"entry 'a\x0a\x1bb', byte 1024 of the tar: unknown type 'V'"#,
        .file("a\n\u{1B}b").type(UInt8(ascii: "V"))),
    RefusedLayer(
        "entry 'd/', byte 1024 of the tar: a directory with a body of 1024 bytes", .file("d/", kilobyte)),
    RefusedLayer(
        "entry 'f', byte 2048 of the tar: a sparse map of 7 bytes for 3 bytes of data",
        .file("f", "abc").pax("GNU.sparse.size", "9").pax("GNU.sparse.map", "0,7")),
    RefusedLayer(
        "entry 'f', byte 1024 of the tar: an unexpected sparse map, or a missing one",
        .file("f").type(UInt8(ascii: "S"))),
    RefusedLayer("byte 1224 of the tar: unexpected end of the tar", .file("f", kilobyte), cut: 1224),
    RefusedLayer(
        "entry 'f', byte 1536 of the tar: unexpected end of the tar", .file("f", kilobyte), cut: 1536),
    RefusedLayer(
        "entry 'f', byte 1800 of the tar: unexpected end of the tar", .file("f", kilobyte), cut: 1800),
    RefusedLayer("byte 1600 of the tar: unexpected end of the tar", .file("f").pax("a", "b"), cut: 1600),
    RefusedLayer("byte 2048 of the tar: unexpected end of the tar", .file("f").pax("a", "b"), cut: 2048),
    RefusedLayer(
        "entry 'nnn*n…', byte 101888 of the tar: a component is over 255 bytes long",
        .file(Bytes(String(repeating: "n", count: 100_000)))),
    RefusedLayer(
        "byte 1536 of the tar: data after a single zero block",
        blob: LayerBuilder([.file("a", "x")], end: .oneZeroBlock, trailer: Bytes.noise(512).array).tar),
]

private let streams: [RefusedLayer] = {
    let tar = LayerBuilder(.file("f", Bytes.noise(2000))).tar
    let gzip = storedGzip(tar)
    let zstd = storedZstd(tar)
    return [
        RefusedLayer(
            "corrupt gzip stream at byte * of the blob: unsupported compression method",
            blob: damaged(gzip, at: 2)),
        RefusedLayer(
            "corrupt gzip stream at byte * of the blob: invalid deflate block", blob: damaged(gzip, at: 12)),
        RefusedLayer("corrupt gzip stream at byte * of the blob: wrong CRC", blob: damaged(gzip, at: 1000)),
        RefusedLayer(
            "corrupt gzip stream at byte * of the blob: wrong CRC", blob: damaged(gzip, at: gzip.count - 1)),
        RefusedLayer(
            "the gzip stream ends too early, at byte 1000 of the blob", blob: Array(gzip.prefix(1000))),
        RefusedLayer("garbage after the gzip stream at byte \(gzip.count) of the blob", blob: gzip + [7]),
        RefusedLayer("corrupt zstd stream at byte * of the blob: *", blob: damaged(zstd, at: 4)),
        RefusedLayer("corrupt zstd stream at byte * of the blob: *", blob: damaged(zstd, at: 6)),
        RefusedLayer(
            "the zstd stream ends too early, at byte 1000 of the blob", blob: Array(zstd.prefix(1000))),
        RefusedLayer(
            "corrupt zstd stream at byte * of the blob: unknown frame descriptor",
            blob: zstd + [7, 7, 7, 7, 7]),
        RefusedLayer("it is neither gzip nor zstd nor tar", blob: Bytes.noise(2000).array),
        RefusedLayer(
            "it is compressed with xz; gzip, zstd and plain tar are supported",
            blob: [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0]),
    ]
}()

@Suite("Refusals", .enabled(if: TestEnvironment.canApplyLayers, "needs root and a file system for layers"))
struct RefusalTests {
    @Test(
        "A refused layer is reported with layer, entry and byte, and leaves nothing in the store",
        arguments: archives + streams)
    func message(refused: RefusedLayer) throws {
        let program = try Program()
        let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
        let config = try builder.config(.host, [DiffID(sha256(of: refused.blob))])
        let blob = try builder.blob(refused.blob, Packing.none.mediaType)
        try builder.writeIndex([try builder.manifest(config, [blob])])
        let result = try program.run(builder.path.string, "--quiet")
        #expect(result.status == 65)
        #expect(result.text == "")
        let expected = "unpack: layer 1 of 1 (*): \(refused.message)\n\(built)"
        #expect(result.errorText.matches(expected), "said: \(result.errorText)")
        try program.expectClean()
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "0\n")
    }
}
