import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// The tree that `umoci raw unpack` extracts from a stack of layers; nil if umoci refuses it.
private func umoci(_ stack: [[TarEntry]]) throws -> [String]? {
    let scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
    let image = try ImageBuilder(at: scratch.path.appending("image"))
    try image.writeIndex([try image.image(stack.map { LayerBuilder($0) }).named("it")])
    let root = scratch.path.appending("rootfs")
    // umoci applies the umask of its process to directories.
    let run = try Command.run(
        "sh", "-c", #"umask 022 && exec umoci raw unpack --image "$0" "$1""#, "\(image.path):it", root.string)
    return run.status == 0 ? try TreeDump(of: try Directory(opening: root)).lines : nil
}

@Suite(
    "Layers compared with umoci",
    .enabled(
        if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
        "no directory that supports all metadata, or no overlay mounts"),
    .enabled(if: TestEnvironment.has("umoci"), "umoci is not installed"))
struct SecondOpinionTests {
    private static let rounds =
        ProcessInfo.processInfo.environment["UNPACK_DIFFERENTIAL_ROUNDS"].flatMap(UInt64.init) ?? 40

    @Test("Layers as tools write them give the same tree as with umoci")
    func sameAsUmoci() throws {
        for seed in 1...Self.rounds {
            let stack = ConventionalLayers(seed: seed).stack
            let theirs = try #require(try umoci(stack), "seed \(seed): \(source(of: stack))")
            let found = Disagreement(stack, .plain, expected: .shows(theirs))
            #expect(found?.description == nil, "seed \(seed): \(found?.description ?? "")")
        }
    }

    /// The lines that only one of the trees has; nil if the image is refused.
    struct Difference: Sendable, CustomStringConvertible {
        let description: String
        let stack: [[TarEntry]]
        let ours: [String]?
        let umoci: [String]?

        init(_ rule: String, _ stack: [TarEntry]..., ours: [String]?, umoci: [String]?) {
            description = rule
            self.stack = stack
            self.ours = ours
            self.umoci = umoci
        }
    }

    private static let root = TarEntry.directory("./")
    private static let d = TarEntry.directory("d")

    @Test(
        "Cases in which umoci gives another tree",
        .enabled(
            if: (try? Command.run("umoci", "--version").text.contains(" 0.4.")) == true, "another umoci"),
        arguments: [
            Difference(
                "the time of a directory that no entry lists", [.file("d/f")],
                ours: [". d 0755 0:0 0.000000000", "d d 0755 0:0 0.000000000"],
                umoci: [". d 0755 0:0 now", "d d 0755 0:0 now"]),
            Difference(
                "the time of a directory with an opaque mark after it",
                [root, d, .directory("d/s"), .file("d/s/x")],
                [root, d, .directory("d/s"), .file("d/s/f"), .opaque("d")],
                ours: ["d/s d 0755 0:0 0.000000000"], umoci: ["d/s d 0755 0:0 now"]),
            Difference(
                "the time of a directory with its whiteout after it", [root, d, .file("d/f")],
                [root, d, .whiteout("d")], ours: ["d d 0755 0:0 0.000000000"], umoci: ["d d 0755 0:0 now"]),
            Difference(
                "a directory is a file in between", [root, d, .file("d/f", "1")], [root, .file("d"), d],
                ours: ["d/f - 0644 0:0 0.000000000 1 …"], umoci: []),
            Difference(
                "a directory replaces a symlink after an entry has traversed the link",
                [root, d, .symlink("l", to: "d")], [root, .file("l/f", "1"), .directory("l")],
                ours: ["l/f - 0644 0:0 0.000000000 1 …"], umoci: ["d/f - 0644 0:0 0.000000000 1 …"]),
            Difference(
                "a directory that no entry lists replaces a file", [root, .file("d")],
                [root, .file("d/f", "1")],
                ours: [
                    ". d 0755 0:0 0.000000000", "d d 0755 0:0 0.000000000", "d/f - 0644 0:0 0.000000000 1 …",
                ],
                umoci: nil),
            Difference(
                "the metadata of a hard link's entry",
                [root, .file("a", "1"), .hardLink("b", to: "a").mode(0o600).owned(1, 2).at(3)],
                ours: ["a - 0600 1:2 3.000000000 1 … group=a", "b - 0600 1:2 3.000000000 1 … group=a"],
                umoci: ["a - 0644 0:0 0.000000000 1 … group=a", "b - 0644 0:0 0.000000000 1 … group=a"]),
            Difference(
                "a hard link to itself", [root, .file("a", "1")], [root, .hardLink("a", to: "a")],
                ours: [". d 0755 0:0 0.000000000", "a - 0644 0:0 0.000000000 1 …"], umoci: nil),
            Difference(
                "a hard link to a file that the layer hides", [root, .file("a", "1")],
                [root, .whiteout("a"), .hardLink("b", to: "a")],
                ours: [". d 0755 0:0 0.000000000", "b - 0644 0:0 0.000000000 1 …"], umoci: nil),
            Difference(
                "a character device 0:0", [root, .file("a", "1")], [root, .character("a", 0, 0)],
                ours: ["a - 0644 0:0 0.000000000 1 …"], umoci: ["a c 0644 0:0 0.000000000 0:0"]),
            Difference(
                "a file in AUFS's pseudo-link directory",
                [.file(".wh..wh.plnk/1"), .hardLink("b", to: ".wh..wh.plnk/1"), root],
                ours: ["b - 0644 0:0 0.000000000 0 …"],
                umoci: [
                    ".wh..wh.plnk d 0755 0:0 now",
                    ".wh..wh.plnk/1 - 0644 0:0 0.000000000 0 … group=.wh..wh.plnk/1",
                    "b - 0644 0:0 0.000000000 0 … group=.wh..wh.plnk/1",
                ]),
            Difference(
                "a whiteout of its own directory", [root, d, .file("d/.wh..")],
                ours: nil, umoci: [". d 0755 0:0 0.000000000", "d d 0755 0:0 0.000000000"]),
            Difference(
                "a path through a whiteout", [.file(".wh.d/f"), root],
                ours: nil,
                umoci: [
                    ". d 0755 0:0 0.000000000", ".wh.d d 0755 0:0 now", ".wh.d/f - 0644 0:0 0.000000000 0 …",
                ]),
            Difference(
                "an attribute without a value", [root, .file("a").xattr("user.a", "")],
                ours: ["a - 0644 0:0 0.000000000 0 … user.a="], umoci: ["a - 0644 0:0 0.000000000 0 …"]),
            Difference(
                "an attribute that belongs to the host", [root, .file("a").xattr("trusted.a", "1")],
                ours: ["a - 0644 0:0 0.000000000 0 …"],
                umoci: ["a - 0644 0:0 0.000000000 0 … trusted.a=31"]),
            Difference(
                "a user attribute on a symlink", [root, .symlink("a", to: "b").xattr("user.a", "1")],
                ours: [". d 0755 0:0 0.000000000", "a l 0777 0:0 0.000000000 -> b"], umoci: nil),
        ])
    func differences(row: Difference) throws {
        let ours = (try? Stack(row.stack).tree.lines)?.map(Self.shortened)
        let theirs = try umoci(row.stack)?.map(Self.shortened)
        #expect(ours?.filter { theirs?.contains($0) != true } == row.ours)
        #expect(theirs?.filter { ours?.contains($0) != true } == row.umoci)
    }

    /// Replaces digests, and the time of the test by `now`.
    private static func shortened(_ line: String) -> String {
        line.replacing(#/sha256:[0-9a-f]+/#, with: "…").replacing(#/1[0-9]{9}\.[0-9]{9}/#, with: "now")
    }
}
