import Archive
import Foundation
import Kernel
import Layers
import Layout
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

@Suite("The tree of an image")
struct ImageTreeTests {
    private static let rounds =
        ProcessInfo.processInfo.environment["UNPACK_DIFFERENTIAL_ROUNDS"].flatMap(UInt64.init) ?? 200

    /// The lines of the tree of some layers, with the digests of the content of their entries.
    private func lines(_ stack: [[TarEntry]]) throws -> [String] {
        let tree = try ImageTree(stack, digests: true)
        return try tree.lines { _, file in
            let entry = try #require(file.origin.entry)
            return sha256(of: stack[Int(file.origin.layer) - 1][Int(entry)].contents.array).description
        }
    }

    private func outcome(_ stack: [[TarEntry]]) -> Outcome {
        do {
            return .shows(try lines(stack))
        } catch let failure as LayerFailure {
            if case .refused(let reason) = failure.cause { return .refused(reason) }
            return .failed("\(failure)")
        } catch {
            return .failed("\(error)")
        }
    }

    @Test("Random layers give the tree that the model predicts, or both refuse them")
    func model() throws {
        var shown = 0
        for seed in 1...Self.rounds {
            let stack = LayerGenerator.stack(seed: seed)
            guard let expected = try? Outcome(model: stack) else { continue }
            if !expected.isRefusal { shown += 1 }
            let found = outcome(stack)
            #expect(found.isSame(as: expected), "seed \(seed):\n\(source(of: stack))\n\(found)\n\(expected)")
        }
        #expect(shown > Int(Self.rounds) * 3 / 4)
    }

    @Test(
        "The tree of an image of a real tool equals the mounted tree",
        .enabled(
            if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
            "no directory that supports all metadata, or no overlay mounts"
        ),
        arguments: ["busybox", "busybox-tar", "busybox-zstd", "edge", "multi"])
    func fixtures(name: String) throws {
        let path = FilePath(#filePath).removingLastComponent().appending("../../../Fixtures/\(name)")
        let layout = try ImageLayout(opening: path)
        for candidate in try layout.candidates() {
            guard try layout.loadIfPresent(candidate.descriptor) != nil else { continue }
            let tree = try ImageTree(reading: candidate.descriptor, of: layout, digests: true)
            let stack = try Stack(candidate.descriptor, of: layout)
            let shown = try stack.tree.lines.map(\.withoutDigest)
            let lines = tree.lines { _, _ in "…" }
            #expect(lines == shown)
            try stack.merged { try expectSameContent(tree, in: $0) }
        }
    }

    @Test(
        "Attributes and modes are those that the kernel returns",
        .enabled(
            if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
            "no directory that supports all metadata, or no overlay mounts"
        ))
    func attributes() throws {
        let plain: Bytes = "user::r--,group::rwx,other::---"
        let named: Bytes = "user::rwx,user:lisa:r-x:1000,group::r-x,mask::r--,other::---"
        let entries: [TarEntry] = [
            .file("plain").mode(0o640).pax("SCHILY.acl.access", plain),
            .file("named").mode(0o6751).owned(1, 2).pax("SCHILY.acl.access", named),
            .directory("d", mode: 0o750).pax("SCHILY.acl.access", named).pax("SCHILY.acl.default", named),
            .file("d/inside").mode(0o604),
            .file("caps").owned(3, 4).xattr("security.capability", LayerGenerator.capability),
            .symlink("link", to: "d").mode(0o644).xattr("user.a", "1"),
            .fifo("pipe").xattr("user.a", "1").xattr("trusted.a", "1"),
            .file("kept").xattr("user.a", "1").xattr("user.overlay.x", "1").xattr("security.selinux", "x"),
            // For the kernel an ACL without entries is no ACL, and it returns a capability of root in revision 2.
            .directory("empty").xattr("system.posix_acl_default", [2, 0, 0, 0]).xattr(
                "system.posix_acl_access", ""),
            .file("rooted").xattr(
                "security.capability",
                [1, 0, 0, 3, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            // A signature belongs to the file; a value that another kernel calculated and a setting of a file system
            // do not.
            .file("signed").xattr("security.ima", [3, 2, 4]).xattr("security.evm", [5, 2]),
            .file("measured").xattr("security.ima", [4, 4, 9]).xattr("security.evm", [2, 9])
                .xattr("btrfs.compression", "zstd").xattr("system.other", "1"),
        ]
        let links: [TarEntry] = [
            .hardLink("more", to: "named").mode(0o711).xattr("user.b", "2"),
            .hardLink("other", to: "caps").mode(0o4755),
        ]
        for stack in [[entries], [entries + links], [entries, links]] {
            let shown = try Stack(stack).tree.lines.map(\.withoutDigest)
            let lines = try ImageTree(stack).lines { _, _ in "…" }
            #expect(lines == shown)
            #expect(
                lines.contains { $0.contains("posix_acl_access") }
                    && lines.contains { $0.contains("capability") })
            #expect(
                lines.contains {
                    $0.hasPrefix("signed ") && $0.hasSuffix(" security.evm=0502 security.ima=030204")
                })
            #expect(lines.contains { $0.hasPrefix("measured ") && $0.hasSuffix("…") })
            #expect(lines.contains { $0.hasPrefix("empty ") && !$0.contains("=") })
        }
    }

    private func expectSameContent(_ tree: ImageTree, in root: Directory) throws {
        let walked = try ImageTree(walking: root)
        var differences = [TreeChange]()
        TreeChanges.compare(tree, walked, comparesTimes: true) { differences.append($0) }
        #expect(differences.map { "\($0)" } == [])
    }

    // MARK: Origins

    @Test("Each file has its layer and its entry, and the names of a hard-link group share one file")
    func origins() throws {
        let tree = try ImageTree([
            [.directory("d"), .file("d/a", "1"), .file("d/b", "2")],
            [.file("d/b", "3"), .hardLink("c", to: "d/a").mode(0o600), .directory("d/e/")],
        ])
        func file(_ path: String) throws -> ImageTree.File {
            guard case .found(let item) = tree.resolve(Array(path.utf8)) else {
                throw CocoaError(.fileNoSuchFile)
            }
            return tree[item.id]
        }
        #expect(try file("d").place == [1, 0])
        #expect(try file("d/a").place == [1, 1])
        #expect(try file("d/b").place == [2, 0])
        #expect(try file("d/e").place == [2, 2])
        #expect(try file("c").place == [1, 1])
        #expect(try file("d/a").metadata.mode == 0o600)
    }

    @Test(
        "A path is resolved as in the image's own root",
        arguments: [
            ("", "/"), ("/", "/"), ("/bin", "/bin"), ("bin/", "/usr/bin"), ("/bin/sh", "/usr/bin/sh"),
            ("bin/../x", "/usr/x"), ("../../usr/./bin//sh", "/usr/bin/sh"), ("loop/x", "loop"),
            ("up/etc", "/etc"), ("none/x", "none /none/x"), ("usr/bin/sh/", "none /usr/bin/sh"),
            ("bin/none", "none /usr/bin/none"),
        ])
    func resolving(path: String, expected: String) throws {
        let tree = try ImageTree([
            [
                .directory("usr/bin"), .file("usr/bin/sh"), .file("usr/x"), .directory("etc"),
                .symlink("bin", to: "usr/bin"), .symlink("loop", to: "/loop"), .symlink("up", to: "../.."),
            ]
        ])
        func text(_ path: [FileName]) -> String { "/" + path.map(\.description).joined(separator: "/") }
        let found =
            switch tree.resolve(Array(path.utf8)) {
            case .found(let item): text(item.path)
            case .missing(let path): "none " + text(path)
            case .tooManyLinks: "loop"
            }
        #expect(found == expected)
    }

    // MARK: Hostile images

    @Test("A tree above its memory limit is refused")
    func memory() throws {
        let source = try TemporaryDirectory()
        let builder = try ImageBuilder(at: source.path.appending("layout"))
        let manifest = try builder.image([LayerBuilder((0..<2000).map { .file("\($0)") })])
        let layout = try ImageLayout(opening: builder.path)
        let memory = TreeMemory()
        _ = try ImageTree(reading: manifest, of: layout, memory: memory)
        #expect(memory.used < 2000 * 350)
        let error = #expect(throws: LayerFailure.self) { () throws in
            _ = try ImageTree(reading: manifest, of: layout, memory: TreeMemory(limit: 200_000))
        }
        guard case .excess(.memory(200_000)) = error?.cause else {
            return #expect(Bool(false), "\(error as Any)")
        }
        let other = #expect(throws: LayerFailure.self) { () throws in
            _ = try ImageTree(reading: manifest, of: layout, limits: Budget.Limits(entries: 1000))
        }
        guard case .excess(.entries(1000)) = other?.cause else {
            return #expect(Bool(false), "\(other as Any)")
        }
    }

    @Test("A layer with a wrong digest or diff ID is refused even if its entries are valid")
    func damage() throws {
        let source = try TemporaryDirectory()
        let builder = try ImageBuilder(at: source.path.appending("layout"))
        let layer = LayerBuilder(.file("a", "1"))
        let wrong = try builder.image([layer], diffIDs: [LayerBuilder(.file("b")).diffID])
        let layout = try ImageLayout(opening: builder.path)
        let error = #expect(throws: LayerFailure.self) { () throws in
            _ = try ImageTree(reading: wrong, of: layout)
        }
        guard case .wrongDiffID = error?.cause else { return #expect(Bool(false), "\(error as Any)") }
        let right = try builder.image([layer])
        try builder.damageBlob(try layout.load(right).steps[0].descriptor) { $0[$0.count - 1] ^= 1 }
        let other = #expect(throws: LayerFailure.self) { () throws in
            _ = try ImageTree(reading: right, of: layout)
        }
        guard case .blob(.wrongDigest) = other?.cause else { return #expect(Bool(false), "\(other as Any)") }
    }
}

extension ImageTree.File {
    fileprivate var place: [Int32?] { [origin.layer, origin.entry] }
}

@Suite("Content digests")
struct ContentDigestTests {
    private func digest(_ pieces: [(Int64, [UInt8])], size: Int64) -> ContentDigest {
        var digester = ContentDigester()
        for (offset, bytes) in pieces { bytes.withRawSpan { digester.update($0, at: offset) } }
        return digester.finish(size: size)
    }

    @Test("The digest of a content does not depend on its pieces and holes")
    func pieces() {
        var random = SplitMix64(state: 7)
        for _ in 1...60 {
            let size = Int.random(in: 0...400_000, using: &random)
            var content = [UInt8](repeating: 0, count: size)
            for _ in 0..<Int.random(in: 0...4, using: &random) where size > 0 {
                let start = Int.random(in: 0..<size, using: &random)
                let end = min(size, start + Int.random(in: 1...150_000, using: &random))
                for index in start..<end { content[index] = UInt8(truncatingIfNeeded: index | 1) }
            }
            let whole = digest([(0, content)], size: Int64(size))
            var parts = [(Int64, [UInt8])]()
            var start = 0
            while start < size {
                let end = min(size, start + Int.random(in: 1...130_000, using: &random))
                let part = Array(content[start..<end])
                // A piece of zeros may be a hole.
                if part.contains(where: { $0 != 0 }) { parts.append((Int64(start), part)) }
                start = end
            }
            #expect(digest(parts, size: Int64(size)) == whole)
            if size > 0 {
                content[Int.random(in: 0..<size, using: &random)] ^= 0x80
                #expect(digest([(0, content)], size: Int64(size)) != whole)
            }
            #expect(digest(parts, size: Int64(size) + 1) != whole)
        }
    }

    @Test("A hole takes no time, and data after it counts with its offset")
    func holes() {
        let end: Int64 = 1 << 60
        let one = digest([(end, [1])], size: end + 1)
        #expect(one == digest([(5, [0]), (end, [1])], size: end + 1))
        #expect(one != digest([(end - 1, [1])], size: end + 1))
        #expect(one != digest([(end - 65536, [1])], size: end + 1))
    }
}
