import Kernel
import Layout
import Mounts
import OCI
import SystemPackage
import TestSupport
import Testing
import Unpacking

@Suite(
    "The end of layers that a client applies",
    .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct DifferEndTests {
    @Test(
        "A layer without the padding of its last block is applied, one without its last byte of data is refused",
        arguments: [(1, true), (505, true), (506, false)])
    func missingPadding(missing: Int, isWhole: Bool) throws {
        Process.setUp()
        let scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let builder = try ImageBuilder(at: scratch.path.appending("layout"))
        let blobs = BlobDirectory(try Directory(opening: builder.path.appending("blobs")))
        let tar = LayerBuilder([.directory("d"), .file("d/f", "content")], end: .nothing).tar
        let layer = try builder.blob(Array(tar.dropLast(missing)), Packing.none.mediaType)
        let path = try scratch.makeDirectory("tree")
        let mount = ContainerdMount(type: "bind", source: path.string, options: ["rw", "rbind"])
        let result = Result {
            try Differ().apply(layer, from: blobs, onto: [mount], isSynced: false)
        }
        #expect((try? result.get()) != nil || !isWhole)
        let tree = try TreeDump(of: try Directory(opening: path))
        #expect(tree["d/f"] != nil || !isWhole)
        #expect(tree.lines.count == (isWhole ? 3 : 1))
    }
}
