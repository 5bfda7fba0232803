import Erofs
import ErofsFiles
import Foundation
import SystemPackage
import TestSupport
import Testing

@Suite("EROFS: reading images of any origin") struct ReaderTests {
    /// An image whose bytes can be changed. Its checksum is switched off.
    private struct Changed {
        var bytes: [UInt8]

        init(_ form: ErofsWriter.Form) throws {
            var model = try ErofsModel(form)
            let directory = try model.makeDirectory("directory")
            let below = try model.makeDirectory("below", in: directory)
            try model.addRegular("file", noise(700), in: below)
            try model.addRegular("sparse", size: 20_000, pieces: [(8192, noise(10))])
            try model.addSymlink("link", to: "target")
            var metadata = ErofsModel.plain()
            metadata.attributes = [attribute("user.a", noise(20))]
            try model.addRegular("attributes", noise(5000), metadata)
            let (store, summary) = try model.finish()
            bytes = []
            try store.read(Int(summary.length), at: 0, into: &bytes)
            bytes[1032] &= ~1
        }

        var image: ErofsImage {
            get throws { try ErofsImage(MemoryStore(bytes), length: UInt64(bytes.count)) }
        }

        func node(_ path: String) throws -> ErofsImage.Node {
            let image = try image
            var node = try image.root()
            for name in path.split(separator: "/") {
                node = try image.node(of: try #require(try image.lookUp(Array(name.utf8)[...], in: node)))
            }
            return node
        }

        mutating func set(_ offset: Int, _ value: UInt64, _ size: Int) {
            for byte in 0..<size {
                bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte))
            }
        }

        /// Replaces a number in the inode at a path.
        mutating func set(_ path: String, _ offset: Int, _ value: UInt64, _ size: Int) throws {
            set(Int(try node(path).id) * 32 + offset, value, size)
        }
    }

    /// Reads everything, but of each file no more than 64 KiB.
    private static func readAll(_ image: ErofsImage) throws {
        var walk = ErofsImage.Walk(image, from: try image.root())
        var buffer = [UInt8]()
        while let (_, node) = try walk.next() {
            _ = try image.attributes(of: node)
            if node.kind == .symlink { _ = try image.target(of: node) }
            var position: UInt64 = 0
            while node.kind == .regular, position < min(node.size, 1 << 16) {
                try image.read(node, at: position, limit: 1 << 14, into: &buffer)
                position += UInt64(buffer.count)
            }
        }
    }

    private static func isErofsError(_ error: any Error) -> Bool { error is ErofsError }

    // MARK: The superblock

    @Test("Bytes that are no image", arguments: [0, 1024, 1100, 4096, 1 << 16])
    func noImage(count: Int) {
        #expect(throws: ErofsError.notErofs) {
            try ErofsImage(MemoryStore([UInt8](repeating: 0, count: count)), length: UInt64(count))
        }
    }

    @Test("A changed byte of the superblock or of the root's inode", arguments: forms)
    func checksum(form: ErofsWriter.Form) throws {
        for offset in [1024 + 4, 1024 + 17, 1024 + 60, 1152 + 30] {
            var changed = try Changed(form)
            changed.bytes[1032] |= 1
            changed.bytes[offset] ^= 0x10
            #expect(throws: ErofsError.corrupt(.checksum, node: nil)) { try changed.image }
        }
    }

    @Test(
        "Features that the reader does not support",
        arguments: [
            (1024 + 12, 8, 1, .unsupported(.blockSize)), (1024 + 12, 17, 1, .unsupported(.blockSize)),
            (1024 + 80, 0x2, 4, .unsupported(.features)), (1024 + 80, 0x8, 4, .unsupported(.features)),
            (1024 + 80, 0x40, 4, .unsupported(.features)), (1024 + 80, 0x80, 4, .unsupported(.features)),
            (1024 + 80, 0x8000_0000, 4, .unsupported(.features)), (1024 + 86, 1, 2, .unsupported(.devices)),
            (1024 + 90, 1, 1, .unsupported(.directoryBlocks)),
            (1024 + 36, 0xFFFF_FFFF, 4, .corrupt(.truncated, node: nil)),
            (0, UInt64.max, 8, .corrupt(.tarLength, node: nil)),
        ] as [(Int, UInt64, Int, ErofsError)])
    func features(offset: Int, value: UInt64, size: Int, error: ErofsError) throws {
        var changed = try Changed(.tarBacked)
        changed.set(offset, value, size)
        #expect(throws: error) { try changed.image }
    }

    @Test("An image that was cut", arguments: forms)
    func truncated(form: ErofsWriter.Form) throws {
        let whole = try Changed(form).bytes
        for count in [1151, 1152, 2000, whole.count - 4096, whole.count - 1] {
            #expect(throws: ErofsError.self) {
                try ErofsImage(MemoryStore(Array(whole[..<count])), length: UInt64(count))
            }
            // The last bytes are padding, which is not read.
            guard count < whole.count - 1 else { continue }
            #expect(throws: ErofsError.self) {
                try Self.readAll(ErofsImage(MemoryStore(Array(whole[..<count])), length: UInt64(whole.count)))
            }
        }
    }

    // MARK: Inodes and directories

    @Test(
        "Contradictions in an inode",
        arguments: [
            ("/link", 0, 0x8001, 2, .unsupported(.inodeFormat)),
            ("/link", 0, 1 | 1 << 1, 2, .unsupported(.compression)),
            ("/link", 0, 1 | 3 << 1, 2, .unsupported(.compression)),
            ("/link", 0, 1 | 5 << 1, 2, .unsupported(.inodeFormat)),
            ("/link", 4, 0, 2, .corrupt(.mode, node: nil)),
            ("/link", 4, 0o100644, 2, .corrupt(.kind, node: nil)),
            ("/link", 8, 0, 8, .corrupt(.target, node: nil)),
            ("/link", 8, 1 << 63, 8, .corrupt(.size, node: nil)),
            ("/link", 8, 4096, 8, .corrupt(.target, node: nil)),
            ("/link", 40, 1_000_000_000, 4, .corrupt(.time, node: nil)),
            ("/link", 64, 0, 1, .corrupt(.target, node: nil)),
            ("/attributes", 2, 1, 2, .corrupt(.attributes, node: nil)),
            ("/attributes", 2, 0xFFFF, 2, .corrupt(.outside, node: nil)),
            ("/attributes", 68, 255, 1, .corrupt(.attributes, node: nil)),
            ("/attributes", 77, 0x81, 1, .unsupported(.attributePrefixes)),
            ("/attributes", 78, 0xFFFF, 2, .corrupt(.attributes, node: nil)),
            ("/attributes", 16, 0xFFFF_FFF0, 4, .corrupt(.outside, node: nil)),
            ("/sparse", 16, 0x40, 4, .unsupported(.chunkFormat)),
            ("/sparse", 16, 0x20, 4, .unsupported(.devices)),
            ("/sparse", 72, 0xFFFF_FFF0, 4, .corrupt(.outside, node: nil)),
            ("/directory", 8, 0, 8, .corrupt(.size, node: nil)),
            ("/directory", 8, 1 << 40, 8, .corrupt(.size, node: nil)),
            ("/directory", 16, 0xFFFF_FFF0, 4, .corrupt(.outside, node: nil)),
        ] as [(String, Int, UInt64, Int, ErofsError)])
    func inodes(path: String, offset: Int, value: UInt64, size: Int, error: ErofsError) throws {
        var changed = try Changed(.tarBacked)
        try changed.set(path, offset, value, size)
        let thrown = #expect(throws: ErofsError.self) { try Self.readAll(changed.image) }
        switch (thrown, error) {
        case (.corrupt(let reason, _), .corrupt(let expected, _)): #expect(reason == expected)
        default: #expect(thrown == error)
        }
    }

    @Test(
        "Contradictions in a directory block",
        arguments: [
            // `.`, `..`, `below`: entries from 0, 12, 24; names from 36.
            (8, 0, 2, .directory), (8, 35, 2, .directory), (8, 1 << 15, 2, .directory),

            (20, 36, 2, .directory), (32, 511, 2, .directory), (34, 1, 1, .kind), (34, 0, 1, .directory),
            (39, 0x2F, 1, .names), (39, 0, 1, .names), (39, 0x2D, 1, .names), (24, 1 << 50, 8, .outside),
            (24, 1 << 63, 8, .outside),
        ] as [(Int, UInt64, Int, ErofsError.Reason)])
    func directories(offset: Int, value: UInt64, size: Int, reason: ErofsError.Reason) throws {
        var changed = try Changed(.tarBacked)
        let image = try changed.image
        let block = try #require(try image.stretch(of: changed.node("/directory"), at: 0).location)
        changed.set(Int(block) + offset, value, size)
        let thrown = #expect(throws: ErofsError.self) { try Self.readAll(changed.image) }
        guard case .corrupt(let found, _) = thrown else {
            Issue.record("\(String(describing: thrown))")
            return
        }
        #expect(found == reason)
    }

    @Test(
        "A directory that contains itself, its parent or the root does not lead to endless work",
        arguments: forms)
    func cycles(form: ErofsWriter.Form) throws {
        for target in ["", "/directory", "/directory/below"] {
            var changed = try Changed(form)
            let image = try changed.image
            let node = try changed.node(target).id
            let block = try #require(try image.stretch(of: changed.node("/directory"), at: 0).location)
            if target == "/directory/below" {
                // The directory below is its own content.
                let own = try #require(try image.stretch(of: changed.node(target), at: 0).location)
                changed.bytes.replaceSubrange(
                    Int(own)..<Int(own) + 41, with: changed.bytes[Int(block)..<Int(block) + 41])
            } else {
                changed.set(Int(block) + 24, node, 8)
            }
            let thrown = #expect(throws: ErofsError.self) { try Self.readAll(changed.image) }
            guard case .corrupt(.parent, _) = thrown else {
                Issue.record("\(target): \(String(describing: thrown))")
                continue
            }
        }
    }

    @Test("Changed bytes anywhere are read or refused", arguments: forms)
    func mutations(form: ErofsWriter.Form) throws {
        let original = try Changed(form)
        let used = original.bytes.indices.filter { original.bytes[$0] != 0 }
        var random = SplitMix64(state: 3)
        for _ in 0..<1000 {
            var changed = original
            for _ in 0...Int.random(in: 0...3, using: &random) {
                let offset = used[Int.random(in: 0..<used.count, using: &random)]
                let near = min(
                    max(1024, offset + Int.random(in: -3...3, using: &random)), changed.bytes.count - 1)
                changed.bytes[near] =
                    [0, 1, 0x7F, 0x80, 0xFF, UInt8.random(in: 0...255, using: &random)]
                    .randomElement(using: &random) ?? 0
            }
            changed.bytes[1032] &= ~1
            do {
                try Self.readAll(changed.image)
            } catch {
                #expect(Self.isErofsError(error), "\(error)")
            }
        }
    }

    // MARK: mkfs.erofs

    @Test(
        "Images of mkfs.erofs show the tree that the kernel shows",
        .enabled(
            if: ErofsTool.mkfs.path != nil && TestEnvironment.canMountErofsDevice,
            "no erofs-utils, or cannot mount EROFS"),
        arguments: [
            [], ["-b512"], ["-b1024", "-Enoinline_data"], ["-Eforce-inode-extended"],

            ["-x-1"], ["-x1"], ["--chunksize=4096"], ["--chunksize=65536"], ["-T1234567"],
            ["-Elegacy-compress"],
        ])
    func mkfs(options: [String]) throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let tree = try temporary.makeDirectory("tree")
        let script = #"""
            umask 022; cd "$0"; mkdir -p d/e/f many; printf x >small; head -c 100000 /dev/urandom >large; : >empty
            ln -s target link; ln -s "$(head -c 3000 /dev/zero | tr '\0' x)" long; ln small hard; mknod c c 1 3; mknod b b 8 1; mkfifo p
            for i in $(seq 300); do printf $i >many/name$i; done; chown 1:2 small; chown 100000:100000 large
            setfattr -n user.a -v 1 small; for i in 1 2 3 4 5 6; do setfattr -n user.shared -v same many/name$i; done
            setfattr -n trusted.b -v 2 d; touch -d @-5.25 d/e; touch -d @5000000000 large; chmod 4751 large
            truncate -s 1M sparse; printf end >>sparse; for i in $(seq 40); do setfattr -n user.n$i -v $i large; done
            """#
        try Command.run("bash", "-c", script, tree.string).succeed()
        let path = temporary.path.appending("image")
        let mkfs = try #require(ErofsTool.mkfs.path)
        try Command.run([mkfs, "--quiet"] + options + [path.string, tree.string]).succeed()
        let store = try FileStore(path)
        let length = try UInt64(
            #require(FileManager.default.attributesOfItem(atPath: path.string)[.size] as? Int))
        let image = try ErofsImage(store, length: length)
        let mounted = try MountedErofs(path, in: temporary, onLoop: true)
        expectSame(try ErofsLines.of(image), try ErofsLines.of(mounted.root))
        #expect(image.tarLength == nil)
    }

    @Test("A compressed image is refused", .enabled(if: ErofsTool.mkfs.path != nil, "no erofs-utils"))
    func compressed() throws {
        let temporary = try TemporaryDirectory()
        let tree = try temporary.makeDirectory("tree")
        try temporary.write("tree/file", [UInt8](repeating: 1, count: 100_000))
        let path = temporary.path.appending("image")
        let mkfs = try #require(ErofsTool.mkfs.path)
        try Command.run(mkfs, "--quiet", "-zlz4", path.string, tree.string).succeed()
        let length = try UInt64(
            #require(FileManager.default.attributesOfItem(atPath: path.string)[.size] as? Int))
        #expect(throws: ErofsError.self) { try Self.readAll(ErofsImage(FileStore(path), length: length)) }
    }
}
