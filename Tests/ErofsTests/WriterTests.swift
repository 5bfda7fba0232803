import Erofs
import TestSupport
import Testing

@Suite("EROFS: what the writer refuses") struct WriterTests {
    private static let metadata = ErofsModel.plain()

    private func add(_ metadata: InodeMetadata, as name: [UInt8] = [0x61]) throws {
        var writer = try ErofsWriter(.tarBacked, uuid: ErofsModel.uuid, image: MemoryStore())
        try writer.addSpecial(.fifo, metadata, as: name[...], in: ErofsWriter.root)
    }

    @Test(
        "Names that cannot be directory entries",
        arguments: [
            [], Array(".".utf8), Array("..".utf8), Array("a/b".utf8), [0],
            [UInt8](repeating: 0x61, count: 256),
        ])
    func names(name: [UInt8]) throws {
        #expect(throws: ErofsError.invalidName) { try add(Self.metadata, as: name) }
        var writer = try ErofsWriter(.packed, uuid: ErofsModel.uuid, image: MemoryStore())
        #expect(throws: ErofsError.invalidName) { try writer.makeDirectory(name[...], in: ErofsWriter.root) }
    }

    @Test(
        "Attributes without a prefix of EROFS, without a name, too long, or twice",
        arguments: [
            ([("system.nfs4_acl", 1)], .unsupportedAttribute), ([("user.", 1)], .unsupportedAttribute),
            ([("userx", 1)], .unsupportedAttribute), ([("", 1)], .unsupportedAttribute),
            ([("system.posix_acl_access2", 1)], .unsupportedAttribute),
            ([("user.a\0b", 1)], .unsupportedAttribute),
            ([("user." + String(repeating: "x", count: 256), 1)], .unsupportedAttribute),
            ([("user.a", 65_536)], .attributesTooLarge),
            ((0..<5).map { ("user.\($0)", 60_000) }, .attributesTooLarge),
            ([("user.a", 1), ("trusted.a", 1), ("user.a", 2)], .duplicateAttribute),
        ] as [([(String, Int)], ErofsError)])
    func attributes(list: [(String, Int)], error: ErofsError) {
        var metadata = Self.metadata
        metadata.attributes = list.map { attribute($0.0, [UInt8](repeating: 1, count: $0.1)) }
        #expect(throws: error) { try add(metadata) }
    }

    @Test("Attributes as long as EROFS permits")
    func longAttributes() throws {
        var metadata = Self.metadata
        metadata.attributes = [
            attribute("user." + String(repeating: "x", count: 255), [UInt8](repeating: 1, count: 65_535))
        ]
        for form in forms {
            var model = try ErofsModel(form)
            try model.addRegular("file", noise(100), metadata)
            expectSame(try ErofsLines.of(try model.opened()), model.lines)
        }
    }

    @Test("Times, targets and devices out of range")
    func values() throws {
        var late = Self.metadata
        late.nanoseconds = 1_000_000_000
        #expect(throws: ErofsError.invalidTime) { try add(late) }
        var writer = try ErofsWriter(.tarBacked, uuid: ErofsModel.uuid, image: MemoryStore())
        for target in [[], [UInt8](repeating: 1, count: 4096), [1, 0]] as [[UInt8]] {
            #expect(throws: ErofsError.invalidTarget) {
                try writer.addSymlink(to: target[...], Self.metadata, as: [0x61], in: ErofsWriter.root)
            }
        }
        for device in [ImageDevice(major: 4096, minor: 0), ImageDevice(major: 0, minor: 1 << 20)] {
            #expect(throws: ErofsError.invalidDevice) {
                try writer.addSpecial(
                    .blockDevice, device: device, Self.metadata, as: [0x61], in: ErofsWriter.root)
            }
        }
    }

    @Test("Data in the wrong order or of another size", arguments: forms)
    func content(form: ErofsWriter.Form) throws {
        var writer = try ErofsWriter(form, uuid: ErofsModel.uuid, image: MemoryStore())
        #expect(throws: ErofsError.invalidContent) {
            try writer.addRegular(Self.metadata, as: [0x61], in: ErofsWriter.root)
        }
        #expect(throws: ErofsError.invalidContent) { try writer.append([1], at: 0) }
        try writer.beginContent(size: 10)
        try writer.append([1, 2, 3], at: 2)
        #expect(throws: ErofsError.invalidContent) { try writer.append([1], at: 4) }
        #expect(throws: ErofsError.invalidContent) { try writer.append([1, 2], at: 9) }
        #expect(throws: ErofsError.invalidContent) { try writer.append([1], at: .max) }
        #expect(throws: ErofsError.fileTooLarge) { try writer.beginContent(size: 1 << 63) }
    }

    @Test("A directory without metadata, or one that a file would replace", arguments: forms)
    func directories(form: ErofsWriter.Form) throws {
        var writer = try ErofsWriter(form, uuid: ErofsModel.uuid, image: MemoryStore())
        _ = try writer.makeDirectory([0x61], in: ErofsWriter.root)
        #expect(throws: ErofsError.nameIsDirectory) {
            try writer.addSpecial(.fifo, Self.metadata, as: [0x61], in: ErofsWriter.root)
        }
        #expect(throws: ErofsError.nameIsDirectory) { try writer.removeFile([0x61], in: ErofsWriter.root) }
        #expect(throws: ErofsError.missing) { try writer.removeDirectory([0x62], in: ErofsWriter.root) }
        try writer.describe(ErofsWriter.root, Self.metadata)
        #expect(throws: ErofsError.undescribedDirectory) { try writer.finish() }
    }

    @Test("Data of the tar that is not aligned is appended instead")
    func tar() throws {
        var writer = try ErofsWriter(.tarBacked, uuid: ErofsModel.uuid, image: MemoryStore())
        let isUsed1 = writer.useTar(at: 512, size: 100)
        #expect(isUsed1)
        let isUsed2 = writer.useTar(at: 511, size: 100)
        #expect(!isUsed2)
        let aligned = TarSegment(offset: 1024, tarOffset: 512, length: 512)
        let isUsed3 = writer.useTar([aligned, TarSegment(offset: 4000, tarOffset: 0, length: 0)], size: 5000)
        #expect(isUsed3)
        for (segments, size) in [
            // Begins or ends within a block, is out of order, or ends after the file.
            ([TarSegment(offset: 1, tarOffset: 512, length: 511)], 5000),
            ([TarSegment(offset: 0, tarOffset: 512, length: 511)], 5000),
            ([aligned, TarSegment(offset: 512, tarOffset: 1024, length: 512)], 5000),
            ([aligned], 1500),
            // Needs too many chunks.
            ([TarSegment(offset: 512, tarOffset: 512, length: 512 << 23)], 512 + 512 << 23),
        ] as [([TarSegment], UInt64)] {
            let isUsed4 = writer.useTar(segments, size: size)
            #expect(!isUsed4)
        }
        var packed = try ErofsWriter(.packed, uuid: ErofsModel.uuid, image: MemoryStore())
        let isUsed5 = packed.useTar(at: 512, size: 100)
        #expect(!isUsed5)
    }

    @Test("Addresses after the last block")
    func tooLarge() throws {
        var writer = try ErofsWriter(.tarBacked, uuid: ErofsModel.uuid, image: MemoryStore())
        let isUsed6 = writer.useTar(at: UInt64(UInt32.max) * 512 - 8192, size: 1)
        #expect(isUsed6)
        try writer.addRegular(Self.metadata, as: [0x61], in: ErofsWriter.root)
        let isUsed7 = writer.useTar(at: UInt64(UInt32.max) * 512 - 4096, size: 1)
        #expect(isUsed7)
        #expect(throws: ErofsError.imageTooLarge) {
            try writer.addRegular(Self.metadata, as: [0x62], in: ErofsWriter.root)
        }
        var other = try ErofsWriter(.tarBacked, uuid: ErofsModel.uuid, image: MemoryStore())
        try other.describe(ErofsWriter.root, Self.metadata)
        #expect(throws: ErofsError.imageTooLarge) { try other.finish(tarLength: 512 << 32) }
        try writer.describe(ErofsWriter.root, Self.metadata)
        #expect(throws: ErofsError.invalidContent) { try writer.finish(tarLength: 8192) }
    }

    @Test("A file with holes that needs too many chunks")
    func tooManyChunks() throws {
        var writer = try ErofsWriter(.tarBacked, uuid: ErofsModel.uuid, image: MemoryStore())
        let far = TarSegment(offset: 512, tarOffset: 0, length: 512)
        let isUsed8 = writer.useTar([far], size: 512 << 22)
        #expect(isUsed8)
        let isUsed9 = writer.useTar([far], size: 512 << 22 + 1)
        #expect(!isUsed9)
    }
}
