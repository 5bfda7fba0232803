import Kernel
import Layout
import Mounts
import OCI
import SystemPackage
import TestSupport
import Testing
import Unpacking

@Suite(
    "Where layers end that others apply",
    .enabled(if: Ability.canApplyLayers, "no place for device nodes"))
struct DifferEndTests {
    @Test(
        "A layer that lacks only what fills up its last block is whole, one that lacks a byte of data is not",
        arguments: [(1, true), (505, true), (506, false)])
    func missingPadding(missing: Int, isWhole: Bool) throws {
        Process.takeOver()
        let scratch = try TemporaryDirectory(in: try #require(Ability.scratch))
        let builder = try ImageBuilder(at: scratch.path.appending("layout"))
        let blobs = BlobFolder(try Directory(opening: builder.path.appending("blobs")))
        let tar = LayerBuilder([.directory("d"), .file("d/f", "content")], end: .nothing).tar
        let layer = try builder.blob(Array(tar.dropLast(missing)), Packing.none.mediaType)
        let path = try scratch.makeDirectory("tree")
        let mount = ForeignMount(type: "bind", source: path.string, options: ["rw", "rbind"])
        let result = Result {
            try Differ().apply(layer, from: blobs, onto: [mount], isSynced: false)
        }
        #expect((try? result.get()) != nil || !isWhole)
        let tree = try TreeDump(of: try Directory(opening: path))
        #expect(tree["d/f"] != nil || !isWhole)
        #expect(tree.lines.count == (isWhole ? 3 : 1))
    }
}
