import Kernel
import Layers
import Layout
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

@Suite("Layers as EROFS images", .enabled(if: TestEnvironment.scratch != nil, "no directory for layers"))
struct ImageTests {
    /// Writes an image with one layer, as a file of the given name.
    private func write(
        _ entries: [TarEntry], to name: String, in temporary: TemporaryDirectory,
        _ limits: Budget.Limits = Budget.Limits(), over lower: [LayerImage] = []
    ) throws -> LayerImage {
        let builder = try ImageBuilder(at: temporary.path.appending("layout"))
        let layout = try ImageLayout(opening: builder.path)
        let step = try #require(try layout.load(try builder.image([LayerBuilder(entries)])).steps.first)
        let pipeline = LayerPipeline(
            layout, form: .device, budget: Budget(limits), cancellation: Cancellation())
        let path = temporary.path.appending(name)
        _ = try pipeline.write(
            step, to: try File.open(path, .readWriteCreate, mode: 0o600),
            scratch: try Directory(opening: temporary.path), over: Promise(try LowerView(images: lower)))
        return try LayerImage(try File.open(path, .read))
    }

    @Test(
        "An image whose metadata does not fit into the memory for it is complete",
        .enabled(if: TestEnvironment.canMountErofsDevice, "cannot mount EROFS images"))
    func spilled() throws {
        let files = (1...12_000).map { number in
            TarEntry.file("d\(number % 7)/a rather long name of a file, number \(number)", "\(number)").mode(
                Int64(number % 0o1000))
        }
        #expect(try Stack([files], variant: Variant(backend: .images)).tree == Stack([files]).tree)
    }

    @Test("The memory for the names of an image has a limit, and its scratch files have no names")
    func memory() throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let files = (1...30_000).map { TarEntry.file("a rather long name of a file, number \($0)", "") }
        let small = Budget.Limits(names: 500_000)
        let failure = #expect(throws: LayerFailure.self) {
            try write(files, to: "many", in: temporary, small)
        }
        guard case .excess(.names(limit: 500_000)) = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
        _ = try write(Array(files.prefix(1000)), to: "few", in: temporary, small)
        let names = try Directory(opening: temporary.path).names().map(\.description).sorted()
        #expect(names == ["few", "layout", "many"])
    }

    @Test("The same layer gives the same image, with its tar as it is")
    func canonical() throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let entries: [TarEntry] = [
            .directory("d", mode: 0o711).at(-1, 5), .file("d/f", "content").xattr("user.name", "value"),
            .hardLink("h", to: "d/f"), .symlink("s", to: "d"), .fifo("p"), .file("d/f", "replaced"),
        ]
        for name in ["a", "b"] { _ = try write(entries, to: name, in: temporary) }
        let images = try ["a", "b"].map { try contents(of: temporary.path.appending($0)) }
        #expect(images[0] == images[1])
        let tar = LayerBuilder(entries).tar
        #expect(images[0][4096...].starts(with: tar))
    }

    @Test("Damage to the image of a layer below is reported as such")
    func damaged() throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let entries: [TarEntry] = [.directory("d", mode: 0o711), .file("d/f", "content")]
        let lower = try write(entries, to: "lower", in: temporary)
        // All metadata is behind the tar.
        let metadata = 4096 + Int64(LayerBuilder(entries).tar.count)
        let file = try File.open(temporary.path.appending("lower"), .readWriteCreate, mode: 0o600)
        let garbage = [UInt8](repeating: 0xFF, count: Int(try file.status().size - metadata))
        try garbage.withRawSpan { try file.write($0, at: metadata) }
        let failure = #expect(throws: LayerFailure.self) {
            try write([.file("d/g", "other")], to: "upper", in: temporary, over: [lower])
        }
        guard case .damagedImage = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
    }

    private func contents(of path: FilePath) throws -> [UInt8] {
        var bytes = [UInt8]()
        let file = try File.open(path, .read)
        let size = try file.status().size
        try file.read(into: &bytes, limit: Int(size) + 1)
        return bytes
    }
}
