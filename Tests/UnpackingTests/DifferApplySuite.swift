import Kernel
import Layout
import Mounts
import SystemPackage
import TestSupport
import Testing

/// A suite that applies layers of an image to mounts.
protocol DifferApplySuite {
    var scratch: TemporaryDirectory { get }
    var builder: ImageBuilder { get }
    var blobs: BlobDirectory { get }
}

extension DifferApplySuite {
    /// The lowest first; only the lowest has an entry for `d/`, whose metadata apply in the others too.
    static var layers: [LayerBuilder] {
        [
            LayerBuilder(
                .directory("./", mode: 0o751), .directory("d", mode: 0o1777).at(7), .file("d/f", "1").at(7),
                .file("a", "1").xattr("user.k", "v"), .symlink("l", to: "d"), .directory("gone"),
                .file("gone/x")),
            LayerBuilder(.file("d/b", "2"), .whiteout("a"), .file("l/through", "2").owned(7, 8)),
            LayerBuilder(.file("d/c", "3"), .hardLink("h", to: "d/b"), .whiteout("gone"), .fifo("p")),
            LayerBuilder(.file("d/e", "4"), .opaque("d"), .directory("gone"), .file("gone/y")),
        ]
    }

    static func makeScratch() throws -> (TemporaryDirectory, ImageBuilder, BlobDirectory) {
        Process.setUp()
        let scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let builder = try ImageBuilder(at: scratch.path.appending("layout"))
        let blobs = BlobDirectory(try Directory(opening: builder.path.appending("blobs")))
        return (scratch, builder, blobs)
    }

    /// A mount of containerd's native snapshotter.
    func bind(_ path: FilePath, _ access: String = "rw") -> [ContainerdMount] {
        [ContainerdMount(type: "bind", source: path.string, options: [access, "rbind"])]
    }

    func dump(_ path: FilePath, showsMarks: Bool = true) throws -> TreeDump {
        try TreeDump(of: try Directory(opening: path), showsMarks: showsMarks)
    }
}
