import Layout
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

@Suite("The end of image archives") struct ArchiveEndTests {
    private enum Way: CaseIterable { case inPlace, gzip, stream }

    private let scratch: TemporaryDirectory
    private let members: [TarEntry]

    init() throws {
        scratch = try TemporaryDirectory()
        let builder = try ImageBuilder(at: scratch.path.appending("layout"))
        try builder.writeIndex([try builder.image([LayerBuilder(.file("a", "content"))])])
        let members = try builder.members()
        // The document that every reader needs is moved to the end.
        self.members = members.filter { $0.path != "index.json" } + members.filter { $0.path == "index.json" }
    }

    private func layers(of tar: [UInt8], _ way: Way) throws -> Int {
        let file: FilePath
        switch way {
        case .inPlace: file = try scratch.write("x.tar", tar)
        case .gzip: file = try scratch.write("x.tar", storedGzip(tar))
        case .stream:
            let pipe = try Pipe(in: scratch)
            let writer = try pipe.writer([tar])
            defer { _ = try? writer.join() }
            return try layers(at: pipe.path)
        }
        return try layers(at: file)
    }

    private func layers(at file: FilePath) throws -> Int {
        let layout = try ImageLayout(opening: ImageSource(file), in: scratch.path)
        let steps = try layout.load(try layout.select(Selector()).descriptor).steps
        try layout.finish()
        return steps.count
    }

    @Test(
        "An archive without the padding of its last block is complete, one without a byte of data is not",
        arguments: Way.allCases)
    private func missingPadding(way: Way) throws {
        let tar = LayerBuilder(members, end: .nothing).tar
        let padding = (512 - members[members.count - 1].contents.array.count % 512) % 512
        for missing in [1, padding / 2, padding] {
            #expect(try layers(of: Array(tar.dropLast(missing)), way) == 1, "\(missing) bytes are missing")
        }
        #expect(throws: LayoutFailure.self) { try layers(of: Array(tar.dropLast(padding + 1)), way) }
    }
}
