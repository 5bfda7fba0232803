import Erofs
import TestSupport
import Testing

@Suite("EROFS: written and read back") struct RoundTripTests {
    @Test("Our reader shows every feature as written", arguments: forms)
    func everything(form: ErofsWriter.Form) throws {
        var model = try ErofsModel.everything(form)
        let image = try model.opened()
        expectSame(try ErofsLines.of(image), model.lines)
        #expect(image.uuid == ErofsModel.uuid)
        #expect(image.volumeName == form.volumeName)
        #expect(image.blockSize == (form == .tarBacked ? 512 : 4096))
        #expect(image.inodeCount == UInt64(model.files.count + model.directories.count))
    }

    @Test("The same calls give the same bytes", arguments: forms)
    func canonical(form: ErofsWriter.Form) throws {
        var images = [[UInt8]]()
        for _ in 0..<2 {
            var model = try ErofsModel.everything(form)
            let (image, summary) = try model.finish()
            var bytes = [UInt8]()
            try image.read(Int(summary.length), at: 0, into: &bytes)
            #expect(bytes.count == Int(summary.length))
            #expect(summary.length % 4096 == 0)
            images.append(bytes)
        }
        #expect(images[0] == images[1])
    }

    @Test("An empty tree is an image", arguments: forms)
    func empty(form: ErofsWriter.Form) throws {
        var model = try ErofsModel(form)
        let image = try model.opened()
        expectSame(try ErofsLines.of(image), model.lines)
        #expect(try image.entries(of: image.root()).isEmpty)
        #expect(try image.parent(of: image.root()) == 36)
    }

    @Test("Replaced and removed names are not in the image, and links are counted", arguments: forms)
    func replacing(form: ErofsWriter.Form) throws {
        var model = try ErofsModel(form)
        let first = try model.addRegular("a", noise(5000))
        try model.link(first, as: "b")
        try model.addRegular("a", noise(10))
        try model.addSymlink("a", to: "b")
        let directory = try model.makeDirectory("directory")
        let below = try model.makeDirectory("below", in: directory)
        try model.link(first, as: "c", in: below)
        try model.addRegular("d", noise(1), in: below)
        try model.remove("directory")
        let again = try model.makeDirectory("directory")
        try model.link(first, as: "e", in: again)
        try model.addRegular("removed", noise(1))
        try model.remove("removed")
        try model.addRegular("removed twice", noise(1))
        try model.remove("removed twice")
        try model.addRegular("removed twice", noise(2))
        let image = try model.opened()
        expectSame(try ErofsLines.of(image), model.lines)
        // The root, `directory`; `a`, `b` with `directory/e`, `removed twice`.
        #expect(image.inodeCount == 5)
    }

    @Test("Metadata of files and directories can change until the end", arguments: forms)
    func changing(form: ErofsWriter.Form) throws {
        var model = try ErofsModel.everything(form)
        let short = InodeMetadata(mode: 0o600, uid: 7, gid: 8, seconds: 9, nanoseconds: 10)
        var long = short
        long.attributes = [attribute("user.long", noise(400)), attribute("user.other", noise(3))]
        var huge = short
        huge.attributes = (0..<4).map { attribute("user.\($0)", noise(60_000)) }
        for file in model.files.indices {
            try model.setMetadata(of: file, short)
            #expect(try model.metadataInWriter(of: file) == short)
            if file % 2 == 0 { try model.setMetadata(of: file, long) }
            if file % 3 == 0 { try model.setMetadata(of: file, huge) }
            #expect(
                try Set(model.metadataInWriter(of: file).attributes)
                    == Set(model.files[file].metadata.attributes))
            if model.files[file].kind == .symlink {
                #expect(try model.targetInWriter(of: file) == model.files[file].target)
            }
        }
        for directory in model.directories.indices {
            try model.describe(directory, long)
            #expect(try model.metadataInWriter(ofDirectory: directory) == long)
            if directory % 2 == 0 { try model.describe(directory, short) }
        }
        expectSame(try ErofsLines.of(try model.opened()), model.lines)
    }

    @Test("The root may have any attributes", arguments: forms, [2000, 2800, 2900, 200_000])
    func rootAttributes(form: ErofsWriter.Form, size: Int) throws {
        var root = ErofsModel.plain(0o700)
        root.attributes = (0..<4).map { attribute("user.\($0)", noise(size / 4, seed: UInt64($0 + 1))) }
        root.attributes.append(attribute("trusted.overlay.opaque", [0x79]))
        var model = try ErofsModel(form, root: root)
        #expect(try model.metadataInWriter(ofDirectory: 0).map { Set($0.attributes) } == Set(root.attributes))
        try model.addRegular("file", noise(100))
        expectSame(try ErofsLines.of(try model.opened()), model.lines)
    }

    @Test("Names of one directory are found in any order", arguments: forms)
    func lookUp(form: ErofsWriter.Form) throws {
        var model = try ErofsModel(form)
        var random = SplitMix64(state: 1)
        var names = Set<[UInt8]>()
        while names.count < 3000 {
            let length = Int.random(in: 1...12, using: &random)
            let name = (0..<length).map { _ in UInt8.random(in: 0x2D...0x35, using: &random) }
            if !name.contains(0x2F), name != [0x2E], name != [0x2E, 0x2E] { names.insert(name) }
        }
        for name in names.sorted(by: { $0.count < $1.count }) { try model.addSpecial(Bytes(name), .fifo) }
        let image = try model.opened()
        let root = try image.root()
        #expect(try image.entries(of: root).map(\.name) == names.sorted { $0.lexicographicallyPrecedes($1) })
        for name in names { #expect(try image.lookUp(name[...], in: root)?.name == name) }
        for name: Bytes in [".", "..", "x", "!", "0.0.0.0.0.0.0", ""] {
            #expect(try image.lookUp(name.array[...], in: root) == nil)
        }
    }

    @Test("A tree thousands of directories deep is written and read without recursion", arguments: forms)
    func deep(form: ErofsWriter.Form) throws {
        var model = try ErofsModel(form)
        var directory = 0
        for _ in 0..<4096 { directory = try model.makeDirectory("d", in: directory) }
        let image = try model.opened()
        var walk = ErofsImage.Walk(image, from: try image.root())
        var deepest = 0
        while try walk.next() != nil { deepest = max(deepest, walk.depth) }
        #expect(deepest == 4096)
    }
}
