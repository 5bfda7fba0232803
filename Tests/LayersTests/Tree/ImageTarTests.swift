import Archive
import Foundation
import Kernel
import Layers
import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

/// Collects the written bytes.
private final class Collected: @unchecked Sendable { var bytes = [UInt8]() }

/// Writes an image as one tar.
private func tar(
    of manifest: Descriptor, in layout: ImageLayout, latest: Timestamp? = nil,
    between passes: () throws -> Void = {}
) throws -> [UInt8] {
    let collected = Collected()
    let tar = ImageTarWriter(try ImageTree(reading: manifest, of: layout), latest: latest)
    try passes()
    var output = ImageTarWriter.Output { span in span.withUnsafeBytes { collected.bytes += $0 } }
    try tar.writeDirectories(to: &output, cancellation: Cancellation())
    let budget = Budget()
    for step in try layout.load(manifest).steps where tar.needsContent(of: step) {
        try tar.writeContent(of: step, in: layout, budget: budget, cancellation: Cancellation(), to: &output)
    }
    try tar.writeRemaining(to: &output, cancellation: Cancellation())
    return collected.bytes
}

@Suite("An image as one tar")
struct ImageTarTests {
    private static let rounds =
        ProcessInfo.processInfo.environment["UNPACK_DIFFERENTIAL_ROUNDS"].flatMap(UInt64.init) ?? 100

    private let scratch: TemporaryDirectory

    init() throws { scratch = try TemporaryDirectory(in: TestEnvironment.scratch ?? "/tmp") }

    private func layout(_ name: String, _ layers: [LayerBuilder]) throws -> (ImageLayout, Descriptor) {
        let builder = try ImageBuilder(at: scratch.path.appending(name))
        let manifest = try builder.image(layers)
        return (try ImageLayout(opening: builder.path), manifest)
    }

    /// Creates an image with a tar as its only layer.
    private func layout(_ name: String, tar: [UInt8]) throws -> (ImageLayout, Descriptor) {
        let builder = try ImageBuilder(at: scratch.path.appending(name))
        let layer = try builder.blob(Packing.none.pack(tar), Packing.none.mediaType)
        let config = try builder.config(.host, [DiffID(Digest(.sha256, of: tar))])
        return (try ImageLayout(opening: builder.path), try builder.manifest(config, [layer]))
    }

    private func differences(_ old: ImageTree, _ new: ImageTree) -> [String] {
        var found = [String]()
        TreeChanges.compare(old, new, comparesTimes: true) { found.append("\($0)") }
        return found
    }

    @Test("Random layers give a tar that is one layer with the same tree, and the same bytes each time")
    func random() throws {
        var written = 0
        for seed in 1...Self.rounds {
            let stack = LayerGenerator.stack(seed: seed)
            let (layout, manifest) = try layout("i\(seed)", stack.map { LayerBuilder($0) })
            guard let tree = try? ImageTree(reading: manifest, of: layout, digests: true) else { continue }
            written += 1
            let bytes = try tar(of: manifest, in: layout)
            let again = try tar(of: manifest, in: layout)
            #expect(bytes == again)
            let (other, single) = try self.layout("t\(seed)", tar: bytes)
            let found = differences(tree, try ImageTree(reading: single, of: other, digests: true))
            #expect(found == [], "seed \(seed):\n\(source(of: stack))")
            #expect(!bytes.contains(Array(".wh.".utf8)))
            expectOneEntryForEachPath(of: bytes)
        }
        #expect(written > Int(Self.rounds) / 2)
    }

    /// Checks that each path has one entry, after its directory, and that each hard link comes after its target.
    private func expectOneEntryForEachPath(of bytes: [UInt8]) {
        var walk = MemberWalk()
        guard let members = try? bytes.withRawSpan({ try walk.feed($0) }) else {
            Issue.record("no tar")
            return
        }
        var seen = Set<String>()
        for member in members {
            #expect(seen.insert(member.path).inserted, "\(member.path) comes twice")
            if case .hardLink(let target) = member.content { #expect(seen.contains(target)) }
            let parent = member.path.split(separator: "/").dropLast().joined(separator: "/")
            #expect(member.path.isEmpty || seen.contains(parent), "\(member.path) comes before its directory")
        }
    }

    // MARK: Other programs

    private static let extractors = [
        ["tar", "--xattrs", "--xattrs-include=*", "--acls", "--delay-directory-restore", "-xpf"],
        ["bsdtar", "--xattrs", "--acls", "--fflags", "-xpf"],
    ]

    /// bsdtar sets the time of a directory that existed before, here the root, too early.
    private static func isLost(_ line: String, by extractor: [String]) -> Bool {
        extractor[0] == "bsdtar" && line.hasPrefix(". d ")
    }

    /// Extracts a tar with another program, as root.
    private func extracted(_ bytes: [UInt8], by extractor: [String]) throws -> [String] {
        let file = scratch.path.appending("tar-\(UInt32.random(in: .min ... .max))")
        try Data(bytes).write(to: URL(fileURLWithPath: file.string))
        let root = try scratch.makeDirectory("x-\(UInt32.random(in: .min ... .max))")
        try Command.run(
            ["sh", "-ec", #"cd "$0"; umask 077; exec "$@""#, root.string] + extractor + [file.string]
        ).succeed()
        return try TreeDump(of: try Directory(opening: root)).lines
    }

    @Test(
        "GNU tar and bsdtar extract the tree that is mounted",
        .enabled(
            if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
            "no directory that supports all metadata, or no overlay mounts"
        ),
        .enabled(
            if: TestEnvironment.has("bsdtar") && TestEnvironment.has("setfacl"), "no bsdtar or no setfacl"),
        arguments: ["busybox", "busybox-tar", "busybox-zstd", "edge", "multi"])
    func fixtures(name: String) throws {
        let layout = try ImageLayout(
            opening: FilePath(#filePath).removingLastComponent().appending("../../../Fixtures/\(name)"))
        for candidate in try layout.candidates() {
            guard try layout.loadIfPresent(candidate.descriptor) != nil else { continue }
            let shown = try Stack(candidate.descriptor, of: layout).tree.lines
            let bytes = try tar(of: candidate.descriptor, in: layout)
            for extractor in Self.extractors {
                // libarchive 3.6.2 inverts the sign of the fraction of times before 1970.
                let isKnown = { (line: String) in
                    Self.isLost(line, by: extractor)
                        || extractor[0] == "bsdtar" && line.contains("before-epoch")
                }
                let lines = try extracted(bytes, by: extractor).filter { !isKnown($0) }
                #expect(lines == shown.filter { !isKnown($0) }, "\(extractor[0]), \(candidate.references)")
            }
        }
    }

    @Test(
        "GNU tar and bsdtar preserve links, attributes and times",
        .enabled(
            if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
            "no directory that supports all metadata, or no overlay mounts"
        ),
        .enabled(if: TestEnvironment.has("bsdtar"), "no bsdtar"))
    func special() throws {
        let list: Bytes = "user::rwx,user:lisa:r-x:1000,group::r-x,mask::r-x,other::---"
        let layers: [[TarEntry]] = [
            [
                .directory("d", mode: 0o2755).owned(1, 2).at(100, 5).pax("SCHILY.acl.default", list),
                .file("d/f", "1").mode(0o4711).owned(3, 4).at(7, 999_999_999),
                .fifo("d/pipe").mode(0o640), .directory("d/empty").at(4),
                .symlink("d/absolute", to: "/etc/passwd").at(9), .symlink("d/up", to: "../../x").at(10),
                .directory("d/sub", mode: 0o500).at(11), .symlink("d/sub/l", to: "/a").at(12),
                .file("d/sub/caps", "x").owned(5, 6).xattr("security.capability", LayerGenerator.capability),
                .file("acl").mode(0o750).pax("SCHILY.acl.access", list),
                .file("user").xattr("user.a", "1").at(-1),
            ],
            [
                .hardLink("z", to: "d/f").mode(0o4711).owned(3, 4).at(8, 1),
                .hardLink("a", to: "d/absolute").mode(0o777).at(9),
                .directory("./", mode: 0o711).at(13, 1), .file("d/.wh.up"), .fifo("pipe"),
                .character("null", 1, 3),
            ],
        ]
        let (layout, manifest) = try layout("special", layers.map { LayerBuilder($0) })
        let shown = try Stack(manifest, of: layout).tree.lines
        let bytes = try tar(of: manifest, in: layout)
        for extractor in Self.extractors {
            let lines = try extracted(bytes, by: extractor)
            let isKept = { (line: String) in !Self.isLost(line, by: extractor) }
            #expect(lines.filter(isKept) == shown.filter(isKept), "\(extractor[0])")
        }
    }

    /// Symlinks of every kind, further names, and directories whose times an extractor could change.
    private static let linked: [[TarEntry]] = [
        [
            .directory("./").at(5), .directory("a").at(6), .symlink("a/absolute", to: "/etc/passwd").at(7),
            .symlink("a/up", to: "../b/f").at(8), .directory("a/deep").at(9),
            .symlink("a/deep/l", to: "..").at(10),
            .file("b/f", "content").at(11), .directory("b", mode: 0o500).at(12),
        ],
        [.hardLink("a/f", to: "b/f").at(11), .file("a/deep/g", "2").at(13), .directory("empty").at(14)],
    ]

    @Test(
        "Programs that index a tar accept it: each path has one entry, which comes after its directory",
        .enabled(
            if: TestEnvironment.has("tar2sqfs") && TestEnvironment.has("rdsquashfs"), "no squashfs-tools-ng"))
    func indexed() throws {
        let (layout, manifest) = try layout("linked", Self.linked.map { LayerBuilder($0) })
        let bytes = try tar(of: manifest, in: layout)
        expectOneEntryForEachPath(of: bytes)
        let file = scratch.path.appending("image.sqfs").string
        try Command.run("tar2sqfs", "-q", "-f", file, input: bytes).succeed()
        let listing = try Command.run("rdsquashfs", "-d", file).succeed().text
        let names = listing.split(separator: "\n").compactMap { line in
            line.split(separator: " ").dropFirst().first.map(String.init)
        }
        #expect(
            Set(names) == [
                "a", "a/absolute", "a/up", "a/deep", "a/deep/l", "a/deep/g", "a/f", "b", "b/f", "empty",
            ], "\(listing)")
    }

    @Test(
        "Python preserves the times of directories",
        .enabled(
            if: TestEnvironment.canApplyLayers && TestEnvironment.has("python3"),
            "no directory that supports all metadata, or no python3"))
    func python() throws {
        let (layout, manifest) = try layout("linked", Self.linked.map { LayerBuilder($0) })
        let shown = try Stack(manifest, of: layout).tree.lines
        let script = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(numeric_owner=True)"
        // Python does not set the times of symlinks.
        let isKnown = { (line: String) in line.contains(" -> ") }
        let lines = try extracted(try tar(of: manifest, in: layout), by: ["python3", "-c", script])
        #expect(lines.filter { !isKnown($0) } == shown.filter { !isKnown($0) })
    }

    @Test(
        "GNU tar, bsdtar and Python read sparse files whose data ends within a block",
        arguments: [
            ["tar", "-xf"], ["bsdtar", "-xf"],
            ["python3", "-c", "import sys, tarfile; tarfile.open(sys.argv[1]).extractall()"],
        ]
        .filter { TestEnvironment.has($0[0]) })
    func sparse(extractor: [String]) throws {
        var contents = [UInt8](repeating: 0, count: 50_001)
        let pieces = [3..<7, 600..<1300, 1500..<1501, 9000..<9999, 50_000..<50_001]
        for piece in pieces { for index in piece { contents[index] = UInt8(index % 250 + 1) } }
        let map = pieces.flatMap { ["\($0.lowerBound)", "\($0.count)"] }.joined(separator: ",")
        let data = pieces.flatMap { contents[$0] }
        let entry = TarEntry.file("f", Bytes(data)).pax("GNU.sparse.size", "50001").pax(
            "GNU.sparse.map", Bytes(map))
        let (layout, manifest) = try layout("sparse", [LayerBuilder(entry, .file("next", "x"))])
        let bytes = try tar(of: manifest, in: layout)
        #expect(bytes.count < 30_000)
        try scratch.write("t", bytes)
        let run = try Command.run(extractor + ["t"], in: scratch.path)
        #expect(run.status == 0, "\(run.report)")
        #expect(
            try Data(contentsOf: URL(fileURLWithPath: scratch.path.appending("f").string)) == Data(contents))
        #expect(try String(contentsOfFile: scratch.path.appending("next").string, encoding: .utf8) == "x")
    }

    // MARK: Times and failures

    @Test("Times after the requested limit become the limit, and older times stay")
    func clamped() throws {
        let (layout, manifest) = try layout(
            "clamped",
            [LayerBuilder(.file("old").at(5, 7), .file("new").at(1000), .directory("d").at(100, 1))])
        let bytes = try tar(of: manifest, in: layout, latest: Timestamp(seconds: 100, nanoseconds: 0))
        let (other, single) = try self.layout("one", tar: bytes)
        let tree = try ImageTree(reading: single, of: other)
        let times = tree.children(of: ImageTree.root).map { tree[$0.id].metadata.modificationTime }
        #expect(times.map(\.seconds) == [100, 100, 5] && times.map(\.nanoseconds) == [0, 0, 7])
    }

    @Test("A layer that changes between its two readings is refused, and the tar gets no end")
    func changed() throws {
        let builder = try ImageBuilder(at: scratch.path.appending("changed"))
        let contents = Bytes([UInt8](repeating: 65, count: 100_000))
        let manifest = try builder.image(
            [LayerBuilder(.file("a", contents), .file("b", "1"))], packing: .none)
        let layout = try ImageLayout(opening: builder.path)
        let step = try layout.load(manifest).steps[0]
        var written = [UInt8]()
        for place in [600, 100_400, 124 + 10] {
            let error = #expect(throws: LayerFailure.self) { () throws in
                written = try tar(of: manifest, in: layout) {
                    try builder.damageBlob(step.descriptor) { $0[place] ^= 1 }
                }
            }
            guard case .blob(.wrongDigest)? = error?.cause else {
                return #expect(Bool(false), "\(error as Any)")
            }
            try builder.damageBlob(step.descriptor) { $0[place] ^= 1 }
        }
        #expect(written.isEmpty)
        written = try tar(of: manifest, in: layout)
        #expect(written.suffix(1024).allSatisfy { $0 == 0 })
    }
}

extension [UInt8] {
    fileprivate func contains(_ part: [UInt8]) -> Bool { Data(self).range(of: Data(part)) != nil }
}
