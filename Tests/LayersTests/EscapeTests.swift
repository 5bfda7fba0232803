import Kernel
import Layers
import SystemPackage
import TestSupport
import Testing

@Suite("Escapes", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct EscapeTests {
    /// In the same directory as the layers' temporary directories, so that `..` could lead to it.
    private let canary: TemporaryDirectory
    private let before: TreeDump

    init() throws {
        canary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        try canary.write("file", Array("canary".utf8))
        _ = try canary.makeDirectory("directory/below")
        before = try TreeDump(of: try Directory(opening: canary.path))
    }

    /// Each entry tries to reach the real path of the canary.
    @Test(
        "No entry changes anything outside the layer's directory",
        arguments: [
            { [.file(Bytes($0 + "/file"), "1"), .directory(Bytes($0 + "/directory"), mode: 0)] },
            { [.file(Bytes("../../../../../../.." + $0 + "/file"), "1")] },
            {
                [
                    .symlink("l", to: Bytes($0)), .file("l/file", "1"), .file("l/new", "1"),
                    .directory("l/directory"),
                ]
            },
            { [.symlink("l", to: Bytes("../../../../../../../../.." + $0)), .file("l/file", "1")] },
            { [.symlink("l", to: Bytes($0 + "/file")), .file("l", "1")] },
            {
                [.symlink("l", to: Bytes($0 + "/directory")), .directory("l", mode: 0), .whiteout("l/below")]
            },
            { [.symlink("l", to: Bytes($0)), .whiteout("l/file"), .opaque("l")] },
            {
                [
                    .symlink("a", to: "b"), .symlink("b", to: Bytes($0)), .file("a/file", "1"),
                    .whiteout("a/file"),
                ]
            },
            {
                [
                    .directory("d"), .symlink("d", to: Bytes($0)),
                    .file("d/file", "1").mode(0o4755).owned(1, 1),
                ]
            },
            {
                [
                    .file("d/file"), .symlink("d", to: Bytes($0)), .file("d/file", "1"),
                    .directory("d/directory"),
                ]
            },
            { [.symlink("l", to: Bytes($0)), .symlink("l/directory", to: "x"), .fifo("l/file")] },
            { [.symlink("l", to: "/proc/self/root"), .file(Bytes("l" + $0 + "/file"), "1")] },
        ] as [@Sendable (String) -> [TarEntry]])
    func inside(entries: @Sendable (String) -> [TarEntry]) throws {
        let entries = entries(canary.path.string)
        // In one layer, and with a layer for each entry, so that symlinks of lower layers are tried too.
        _ = try Stack([entries])
        _ = try Stack(entries.map { [$0] })
        let after = try TreeDump(of: try Directory(opening: canary.path))
        #expect(after == before)
    }

    @Test(
        "A hard link to a file outside is refused",
        arguments: [
            { [.hardLink("h", to: Bytes($0 + "/file"))] },
            { [.hardLink("h", to: Bytes("../../../../../../.." + $0 + "/file")).mode(0o777)] },
            { [.symlink("l", to: Bytes($0)), .hardLink("h", to: "l/file").owned(1, 1)] },
        ] as [@Sendable (String) -> [TarEntry]])
    func hardLinks(entries: @Sendable (String) -> [TarEntry]) throws {
        let entries = entries(canary.path.string)
        #expect(throws: LayerFailure.self) { try Stack([entries]) }
        #expect(throws: LayerFailure.self) { try Stack(entries.map { [$0] }) }
        let after = try TreeDump(of: try Directory(opening: canary.path))
        #expect(after == before)
    }

    @Test("A hard link to a symlink that leads outside changes only the symlink")
    func linkToLink() throws {
        let outside = Bytes(canary.path.string + "/file")
        let link = TarEntry.hardLink("h", to: "l").mode(0o777).owned(9, 9).at(9)
        let tree = try Stack([[.symlink("l", to: outside), link]]).tree
        #expect(tree["h"] == "l 0777 9:9 9.000000000 -> \(outside) group=h")
        let after = try TreeDump(of: try Directory(opening: canary.path))
        #expect(after == before)
    }
}
