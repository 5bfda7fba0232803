import Foundation
import Glibc
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// A broken image, and the expected status and message.
struct BrokenImage: Sendable, CustomStringConvertible {
    let description: String
    let status: Int32
    /// The expected stderr; `*` stands for any text.
    let message: String
    let make: @Sendable (ImageBuilder, [LayerBuilder]) throws -> Void
}

private let damaged = "hint: the image is damaged: fetch it again\n"
let built = """
    hint: the blob matches its digest, so the image was built this way: report it to its publisher\n
    """

private func writeIndex(_ builder: ImageBuilder, _ config: Descriptor, _ layers: [Descriptor]) throws {
    try builder.writeIndex([try builder.manifest(config, layers)])
}

/// The golden table of broken images. The second of two layers is the broken one.
private let brokenImages = [
    BrokenImage(
        description: "a flipped byte in a layer", status: 65,
        message: "unpack: layer 2 of 2 (*): the blob's digest is sha256:*, its descriptor says sha256:*\n"
            + damaged
    ) { builder, layers in
        let blobs = try layers.map { try builder.layer($0) }
        try writeIndex(builder, try builder.config(.host, layers.map(\.diffID)), blobs)
        try builder.damageBlob(blobs[1]) { $0[$0.count / 2] ^= 1 }
    },
    BrokenImage(
        description: "a flipped byte in the time that a gzip header carries", status: 65,
        message: "unpack: layer 2 of 2 (*): the blob's digest is sha256:*, its descriptor says sha256:*\n"
            + damaged
    ) { builder, layers in
        let blobs = try layers.map { try builder.layer($0) }
        try writeIndex(builder, try builder.config(.host, layers.map(\.diffID)), blobs)
        try builder.damageBlob(blobs[1]) { $0[5] ^= 1 }
    },
    BrokenImage(
        description: "a wrong size", status: 65,
        message: "unpack: layer 2 of 2 (*): the blob sha256:* has * bytes, its descriptor says 17\n" + damaged
    ) { builder, layers in
        var blobs = try layers.map { try builder.layer($0) }
        blobs[1] = blobs[1].withSize(17)
        try writeIndex(builder, try builder.config(.host, layers.map(\.diffID)), blobs)
    },
    BrokenImage(
        description: "a wrong diff ID", status: 65,
        message: """
            unpack: layer 2 of 2 (*): the uncompressed layer's digest is sha256:*, the config says sha256:*
            hint: layer and config do not belong together: report it to the publisher of the image\n
            """
    ) { builder, layers in
        let diffIDs = [layers[0].diffID, layers[0].diffID]
        try builder.writeIndex([try builder.image(layers, diffIDs: diffIDs)])
    },
    BrokenImage(
        description: "a missing blob", status: 66,
        message: """
            unpack: layer 2 of 2 (*): the blob sha256:* is missing from the layout
            hint: the copy of the image is incomplete: fetch it again\n
            """
    ) { builder, layers in
        let blobs = try layers.map { try builder.layer($0) }
        try writeIndex(builder, try builder.config(.host, layers.map(\.diffID)), blobs)
        try builder.removeBlob(blobs[1])
    },
    BrokenImage(
        description: "a truncated gzip stream under a right digest", status: 65,
        message: "unpack: layer 2 of 2 (*): the gzip stream ends too early, at byte * of the blob\n" + built
    ) { builder, layers in
        let whole = storedGzip(layers[1].tar)
        let cut = try builder.blob(Array(whole.dropLast(100)), Packing.gzip.mediaType)
        let config = try builder.config(.host, layers.map(\.diffID))
        try writeIndex(builder, config, [try builder.layer(layers[0]), cut])
    },
    BrokenImage(
        description: "a layer that is not an archive", status: 65,
        message: "unpack: layer 2 of 2 (*): it is neither gzip nor zstd nor tar\n" + built
    ) { builder, layers in
        let blob = try builder.blob(Array("this is no layer".utf8), Packing.gzip.mediaType)
        let config = try builder.config(.host, layers.map(\.diffID))
        try writeIndex(builder, config, [try builder.layer(layers[0]), blob])
    },
    BrokenImage(
        description: "a hard link to nothing", status: 65,
        message: """
            unpack: layer 2 of 2 (*): entry 'link', byte 0 of the tar: a hard link to 'nothing', which is no file of this layer or below\n
            """ + built
    ) { builder, layers in
        try builder.writeIndex([
            try builder.image([layers[0], LayerBuilder(.hardLink("link", to: "nothing"))])
        ])
    },
    BrokenImage(
        description: "an entry of an unknown type", status: 65,
        message: "unpack: layer 2 of 2 (*): entry 'volume', byte 0 of the tar: unknown type 'V'\n" + built
    ) { builder, layers in
        let unknown = LayerBuilder(TarEntry.file("volume").type(UInt8(ascii: "V")))
        try builder.writeIndex([try builder.image([layers[0], unknown])])
    },
    BrokenImage(
        description: "more layers than diff IDs", status: 65,
        message: """
            unpack: manifest sha256:*: the manifest has 2 layers, the config 1 diff IDs
            hint: it matches its digest, so the image was built this way: report it to its publisher\n
            """
    ) { builder, layers in
        try builder.writeIndex([try builder.image(layers, diffIDs: [layers[0].diffID])])
    },
    BrokenImage(
        description: "a manifest that is missing", status: 66,
        message: """
            unpack: the blob sha256:* is missing from the layout
            hint: the copy of the image is incomplete: fetch it again\n
            """
    ) { builder, layers in
        let image = try builder.image(layers)
        try builder.writeIndex([image])
        try builder.removeBlob(image)
    },
    BrokenImage(
        description: "an image for another platform", status: 69,
        message: """
            unpack: no image is for the platform *; there are:
              (no name)  linux/s390x  sha256:*
            hint: choose one of these with --platform OS/ARCH[/VARIANT]\n
            """
    ) { builder, layers in
        try builder.writeIndex([try builder.image(layers, Platform(os: "linux", architecture: "s390x"))])
    },
    BrokenImage(
        description: "two images and no choice", status: 64,
        message: """
            unpack: 2 images match:
              one  *  sha256:*
              two  *  sha256:*
            hint: choose with --ref NAME (or DIR:NAME), --digest DIGEST or --platform OS/ARCH[/VARIANT]\n
            """
    ) { builder, layers in
        try builder.writeIndex([
            try builder.image(layers).named("one"), try builder.image([layers[0]]).named("two"),
        ])
    },
]

@Suite(.enabled(if: TestEnvironment.canApplyLayers, "needs root and a file system for layers"))
struct FailureTests {
    private static let layers = [
        LayerBuilder(.file("lower", "content of the lower file")),
        LayerBuilder(.file("upper", Bytes(String(repeating: "content of the upper file ", count: 400)))),
    ]

    @Test(
        "A broken image gives one clear message, and leaves nothing unfinished in the store",
        arguments: brokenImages)
    func brokenImage(broken: BrokenImage) throws {
        let program = try Program()
        let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
        try broken.make(builder, Self.layers)
        let result = try program.run(builder.path.string, "--quiet")
        #expect(result.status == broken.status)
        #expect(result.text == "")
        #expect(result.errorText.matches(broken.message), "said: \(result.errorText)")
        if FileManager.default.fileExists(atPath: program.root.string) { try program.expectClean() }
    }

    @Test("A verified lower layer stays in the store, and is not read again")
    func lowerLayerStays() throws {
        let program = try Program()
        let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
        let blobs = try Self.layers.map { try builder.layer($0) }
        try builder.writeIndex([
            try builder.manifest(try builder.config(.host, Self.layers.map(\.diffID)), blobs)
        ])
        try builder.damageBlob(blobs[1]) { $0[40] ^= 1 }
        #expect(try program.run(builder.path.string).status == 65)
        try builder.damageBlob(blobs[1]) { $0[40] ^= 1 }
        let again = try program.run(builder.path.string, "--format", "json").succeed().text
        #expect(again.contains(#""cached":true"#) && again.contains(#""cached":false"#))
    }

    @Test(
        "Usage errors exit with 64, missing images with 66, and each error has a clear message",
        arguments: [
            (["/nowhere/at/all"], Int32(66), "no image at '/nowhere/at/all'"),
            (["/etc/passwd"], 65, "it is neither gzip nor zstd nor tar"),
            (["/proc/self"], 65, "is not an OCI image layout: it has no oci-layout"),
            (["/etc", "--platform", "linux"], 64, "'linux' is not a platform"),
            (["/etc", "--digest", "md5:00"], 64, "digest algorithm 'md5' is not supported"),
            ([""], 64, "IMAGE is empty"),
            (["\(Program.fixtures)/busybox", "--root", ""], 64, "--root is empty"),
            (["\(Program.fixtures)/busybox", "--target", ""], 64, "--target is empty"),
            (["\(Program.fixtures)/busybox", "--root", "/tmp/a b"], 64, "cannot be part of a mount line"),
            (["\(Program.fixtures)/busybox", "--rw=-x"], 64, "'-x' is not a valid key of a snapshot"),
            (["/etc", "--bogus"], 64, "'unpack' has no option '--bogus'"),
            (["/etc", "--snapshotter"], 64, "--snapshotter needs a value: --snapshotter NAME"),
            (["\(Program.fixtures)/busybox", "--snapshotter", "aufs"], 64, "there is no snapshotter 'aufs'"),
            (["\(Program.fixtures)/busybox:nothing"], 66, "no image has the reference 'nothing'"),
            (["\(Program.fixtures)/busybox", "--rw", "a b"], 64, "'a b' is not a valid key of a snapshot"),
            (["\(Program.fixtures)/busybox", "--target", "/tmp/a b"], 64, "cannot be part of a mount line"),
            (["umount", "/"], 75, "'/' is in use:"),
        ])
    func wrongArguments(arguments: [String], status: Int32, message: String) throws {
        let result = try Program().run(arguments)
        #expect(result.status == status, "\(result.report)")
        #expect(result.errorText.contains(message), "\(result.report)")
        #expect(result.text == "")
    }

    @Test("Enormous sizes are refused, and their sum does not overflow")
    func hostileSizes() throws {
        let program = try Program()
        let builder = try ImageBuilder(at: program.scratch.path.appending("image"))
        let blobs = try Self.layers.map { try builder.layer($0).withSize(.max) }
        try builder.writeIndex([
            try builder.manifest(try builder.config(.host, Self.layers.map(\.diffID)), blobs)
        ])
        for arguments in [[builder.path.string], ["inspect", builder.path.string]] {
            let result = try program.run(arguments)
            #expect(result.status == 65, "\(result.report)")
        }
    }

    @Test(
        "A file capability that cannot be set is reported with the missing capability",
        .enabled(if: TestEnvironment.has("capsh"), "needs capsh"))
    func noSetfcap() throws {
        let program = try Program()
        let capability: Bytes = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        let image = try program.image([LayerBuilder(.file("ping").xattr("security.capability", capability))])
        let result = try Command.run(
            "capsh", "--drop=cap_setfcap", "--", "-c",
            "\(Program.path) \(image.path) --root \(program.root) -q")
        #expect(result.status == 77, "\(result.report)")
        #expect(
            result.errorText.matches(
                "unpack: layer 1 of 1 (*): entry 'ping', byte * of the tar: fsetxattr 'security.capability': "
                    + "operation not permitted\nhint: it needs CAP_SETFCAP, *\n"),
            "\(result.report)")
        try program.expectClean()
    }

    @Test("A run that fails on a full disk leaves nothing, and the store works afterwards")
    func fullDisk() throws {
        let program = try Program()
        let zeros = Bytes(String(repeating: "0123456789abcdef", count: 1 << 20))
        let large = try program.image([LayerBuilder(.file("large", zeros))])
        let small = try program.image([LayerBuilder(.file("small", "x"))])
        _ = try program.scratch.makeDirectory("s")
        try Command.run("mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "unpack", program.root.string)
            .succeed()
        defer { _ = try? Command.run("umount", program.root.string) }
        // Without an explicit limit the run would be refused at the start.
        let result = try program.run(large.path.string, "-q", "--max-bytes", "100000000")
        #expect(result.status == 74)
        #expect(result.errorText.contains("no space left on device\nhint: "), "\(result.report)")
        try program.expectClean()
        #expect(try program.run(small.path.string, "-q").status == 0)
    }

    @Test("Directories of a store without a database are not deleted as garbage")
    func lostDatabase() throws {
        let program = try Program()
        let image = try program.image([LayerBuilder(.file("file", "x"))])
        let precious = try program.scratch.makeDirectory("s/overlayfs/7/fs/precious")
        let result = try program.run(image.path.string)
        #expect(result.status == 69 && result.errorText.contains("is not empty"), "\(result.report)")
        #expect(FileManager.default.fileExists(atPath: precious.string))
    }

    @Test(
        "Closed streams and a pipe whose reader has exited leave a clean store",
        arguments: [">&-", "2>&-", "2>&- >&-", "| true"])
    func closedStreams(redirection: String) throws {
        let program = try Program()
        let image = try program.image(Self.layers)
        _ = try Command.run(
            "sh", "-c", "\"$0\" \"$1\" \(redirection)", Program.path.string, image.path.string,
            environment: ["UNPACK_ROOT": program.root.string])
        #expect(try program.rows("SELECT count(*) FROM snapshot WHERE kind = 'committed'") == "2\n")
        #expect(try program.rows("PRAGMA integrity_check") == "ok\n")
    }

    @Test(
        "A termination signal ends an unpack with the status of the signal and a clean store",
        arguments: [SIGINT, SIGTERM])
    func signals(signal: Int32) throws {
        let program = try Program()
        let image = try program.image(Busy.layers)
        let script = #""$0" "$1" -q & sleep 0.15; kill -\#(signal) $!; wait $!"#
        let result = try Command.run(
            "bash", "-mc", script, Program.path.string, image.path.string,
            environment: ["UNPACK_ROOT": program.root.string])
        #expect(result.status == 128 + signal, "\(result.report)")
        try program.expectClean()
    }

    @Test("After kill -9 at any moment the store opens, and the next run gives the same tree as a new store")
    func killed() throws {
        let fresh = try Program()
        let image = try fresh.image(Busy.layers)
        let expected = try fresh.storeTree(image)
        for _ in 0..<8 {
            let program = try Program()
            let delay = Double.random(in: 0.01...0.5)
            _ = try Command.run(
                "bash", "-c", #""$0" "$1" -q & sleep \#(delay); kill -9 $!; wait $!"#, Program.path.string,
                image.path.string, environment: ["UNPACK_ROOT": program.root.string])
            #expect(try program.storeTree(image) == expected, "killed after \(delay) s")
            #expect(try program.rows("SELECT count(*) FROM snapshot WHERE kind != 'committed'") == "0\n")
            let directories = try Command.run("ls", "-A", "\(program.root)/overlayfs").succeed().text
            #expect(directories.split(separator: "\n").count == Busy.layers.count)
        }
    }
}

/// An image that takes a debug build half a second.
private enum Busy {
    static let layers = (1...4).map { layer in
        LayerBuilder(
            (1...2500).map { .file("d-\(layer)/file-\($0)", Bytes(String(repeating: "x", count: 600))) })
    }
}

extension Program {
    /// The trees of all layer directories, after a run that finishes the image.
    fileprivate func storeTree(_ image: ImageBuilder) throws -> [String] {
        let paths = try run(image.path.string, "-q", "--format", "path").succeed().text.split(separator: "\n")
        return try paths.map { try TreeDump(of: try Directory(opening: FilePath(String($0)))).text }
    }
}
