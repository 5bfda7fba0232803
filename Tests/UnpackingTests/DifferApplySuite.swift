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
