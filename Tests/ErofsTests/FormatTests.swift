import Erofs
import TestSupport
import Testing

/// The bytes of images. Expected values are from the kernel's description of the format (fs/erofs/erofs_fs.h,
/// Documentation/filesystems/erofs.rst).
@Suite("EROFS: bytes of the format") struct FormatTests {
    private struct Written {
        let bytes: [UInt8]
        let image: ErofsImage

        init(_ model: inout ErofsModel) throws {
            let (store, summary) = try model.finish()
            var bytes = [UInt8]()
            try store.read(Int(summary.length), at: 0, into: &bytes)
            self.bytes = bytes
            image = try ErofsImage(MemoryStore(bytes), length: summary.length)
        }

        func number(at offset: Int, _ size: Int) -> UInt64 {
            (0..<size).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
        }

        /// Offset of the inode of a name in the root directory.
        func inode(_ name: Bytes) throws -> Int {
            let entry = try #require(try image.lookUp(name.array[...], in: image.root()))
            return Int(entry.node) * 32
        }
    }

    /// Bit by bit, without the final inversion.
    private static func crc32c(_ bytes: some Sequence<UInt8>) -> UInt32 {
        var state = UInt32.max
        for byte in bytes {
            for bit in 0..<8 {
                let feedback = (state ^ UInt32(byte) >> UInt32(bit)) & 1
                state = state >> 1 ^ (feedback == 1 ? 0x82F6_3B78 : 0)
            }
        }
        return state
    }

    @Test("The superblock of both forms", arguments: forms)
    func superblock(form: ErofsWriter.Form) throws {
        var model = try ErofsModel(form)
        try model.addRegular("file", noise(10))
        let written = try Written(&model)
        let isTarBacked = form == .tarBacked
        let blockSize = isTarBacked ? 512 : 4096
        #expect(written.number(at: 1024, 4) == 0xE0F5_E1E2)
        // RFC 3720, B.4, proves the test's own checksum.
        #expect(~Self.crc32c("123456789".utf8) == 0xE306_9283)
        var covered = Array(written.bytes[1024..<(isTarBacked ? 1536 : 4096)])
        covered.replaceSubrange(4..<8, with: [0, 0, 0, 0])
        #expect(written.number(at: 1028, 4) == UInt64(Self.crc32c(covered)))
        #expect(written.number(at: 1032, 4) == 3)
        #expect(written.bytes[1036] == (isTarBacked ? 9 : 12))
        #expect(written.bytes[1037] == 0)
        #expect(written.number(at: 1038, 2) == 36)
        #expect(written.number(at: 1040, 8) == 2)
        #expect(written.number(at: 1048, 8) == 0)
        #expect(written.number(at: 1056, 4) == 0)
        #expect(written.number(at: 1060, 4) == UInt64(written.bytes.count / blockSize))
        #expect(written.number(at: 1064, 4) == 0)
        #expect(written.number(at: 1068, 4) == 0)
        #expect(Array(written.bytes[1072..<1088]) == ErofsModel.uuid)
        let name = isTarBacked ? "unpack-B1" : "unpack-A1"
        #expect(Array(written.bytes[1088..<1104]) == Array(name.utf8) + [UInt8](repeating: 0, count: 7))
        #expect(written.bytes[1104..<1152].allSatisfy { $0 == 0 })
        #expect(written.bytes[8..<1024].allSatisfy { $0 == 0 })
    }

    @Test("An extended inode")
    func inode() throws {
        var model = try ErofsModel(.tarBacked)
        try model.addRegular(
            "file", noise(1000), inTar: true,
            InodeMetadata(mode: 0o4755, uid: 0x0102_0304, gid: 0xFFFF_FFFE, seconds: -2, nanoseconds: 5))
        let written = try Written(&model)
        let inode = try written.inode("file")
        #expect(written.number(at: inode, 2) == 1)  // extended, FLAT_PLAIN
        #expect(written.number(at: inode + 2, 2) == 0)
        #expect(written.number(at: inode + 4, 2) == 0o104755)
        #expect(written.number(at: inode + 6, 2) == 0)
        #expect(written.number(at: inode + 8, 8) == 1000)
        #expect(written.number(at: inode + 16, 4) == 8)  // 4096 / 512
        #expect(written.number(at: inode + 20, 4) == 2)
        #expect(written.number(at: inode + 24, 4) == 0x0102_0304)
        #expect(written.number(at: inode + 28, 4) == 0xFFFF_FFFE)
        #expect(written.number(at: inode + 32, 8) == UInt64.max - 1)
        #expect(written.number(at: inode + 40, 4) == 5)
        #expect(written.number(at: inode + 44, 4) == 1)
        #expect(written.bytes[inode + 48..<inode + 64].allSatisfy { $0 == 0 })
    }

    @Test(
        "Device numbers",
        arguments: [(8, 1, 0x801), (4095, 1_048_575, 0xFFFF_FFFF), (0xABC, 0x12345, 0x123A_BC45)]
            as [(UInt32, UInt32, UInt64)])
    func devices(major: UInt32, minor: UInt32, encoded: UInt64) throws {
        var model = try ErofsModel(.packed)
        try model.addSpecial("device", .blockDevice, ImageDevice(major: major, minor: minor))
        let written = try Written(&model)
        #expect(written.number(at: try written.inode("device") + 16, 4) == encoded)
    }

    @Test("Extended attributes are sorted by index and name, and padded to 4 bytes")
    func attributes() throws {
        var model = try ErofsModel(.tarBacked)
        var metadata = ErofsModel.plain()
        metadata.attributes = [
            attribute("security.b", [9]), attribute("user.b", []), attribute("user.ab", Array("xyz".utf8)),
            attribute("system.posix_acl_access", [1, 2, 3, 4]),
        ]
        try model.addRegular("file", [], metadata)
        let written = try Written(&model)
        let inode = try written.inode("file")
        let expected: [UInt8] =
            [UInt8](repeating: 0, count: 12)  // h_name_filter, h_shared_count, reserved
            + [2, 1, 3, 0] + Array("abxyz".utf8) + [0, 0, 0]  // user.ab
            + [1, 1, 0, 0] + Array("b".utf8) + [0, 0, 0]  // user.b
            + [0, 2, 4, 0, 1, 2, 3, 4]  // the ACL has no name
            + [1, 6, 1, 0] + Array("b".utf8) + [9, 0, 0]  // security.b
        #expect(written.number(at: inode + 2, 2) == UInt64(1 + (expected.count - 12) / 4))
        #expect(Array(written.bytes[inode + 64..<inode + 64 + expected.count]) == expected)
        #expect(written.number(at: inode + 16, 4) == 0xFFFF_FFFF)  // an empty file has no block
    }

    @Test("Entries of a directory, with . and .. in the order of bytes")
    func directory() throws {
        var model = try ErofsModel(.tarBacked)
        for name: Bytes in ["a", ".a", ".-", "-", "...", "B"] { try model.addSpecial(name, .fifo) }
        let written = try Written(&model)
        // The root has one block.
        let block = Int(written.number(at: 36 * 32 + 16, 4)) * 512
        let names = ["-", ".", ".-", "..", "...", ".a", "B", "a"]
        var offset = 12 * names.count
        for (index, name) in names.enumerated() {
            let entry = block + 12 * index
            let isDots = name == "." || name == ".."
            let node = isDots ? 36 : try written.inode(Bytes(name)) / 32
            #expect(written.number(at: entry, 8) == UInt64(node))
            #expect(written.number(at: entry + 8, 2) == UInt64(offset))
            #expect(written.bytes[entry + 10] == (isDots ? 2 : 5))
            #expect(written.bytes[entry + 11] == 0)
            #expect(
                Array(written.bytes[block + offset..<block + offset + name.utf8.count]) == Array(name.utf8))
            offset += name.utf8.count
        }
        #expect(written.number(at: 36 * 32 + 8, 8) == UInt64(offset))
        #expect(written.number(at: 36 * 32 + 44, 4) == 2)
        #expect(written.bytes[block + offset..<block + 512].allSatisfy { $0 == 0 })
    }

    @Test("A file with holes is divided into chunks")
    func chunks() throws {
        var model = try ErofsModel(.tarBacked)
        try model.addRegular(
            "file", size: 4096, pieces: [(1024, noise(1024)), (3072, noise(1024))], inTar: true)
        try model.addRegular("hole", size: 1 << 40, pieces: [])
        let written = try Written(&model)
        #expect(written.number(at: 1104, 4) == 4)  // EROFS_FEATURE_INCOMPAT_CHUNKED_FILE
        let file = try written.inode("file")
        #expect(written.number(at: file, 2) == 1 | 4 << 1)
        // Chunks of 512 << 1 bytes: hole, block 8, hole, block 10.
        #expect(written.number(at: file + 16, 4) == 1)
        #expect(
            (0..<4).map { written.number(at: file + 64 + 4 * $0, 4) } == [0xFFFF_FFFF, 8, 0xFFFF_FFFF, 10])
        // One chunk of 512 << 31 bytes.
        let hole = try written.inode("hole")
        #expect(written.number(at: hole + 16, 4) == 31)
        #expect(written.number(at: hole + 64, 4) == 0xFFFF_FFFF)
    }

    @Test("The end of a file is beside its inode in a packed image, and does not cross a block")
    func inline() throws {
        var model = try ErofsModel(.packed)
        for index in 0..<20 { try model.addRegular("\(index)", noise(5000, seed: UInt64(index + 1))) }
        try model.addRegular("no space", noise(4090))
        let written = try Written(&model)
        for index in 0..<20 {
            let inode = try written.inode("\(index)")
            #expect(written.number(at: inode, 2) == 1 | 2 << 1)
            #expect(inode / 4096 == (inode + 64 + 904 - 1) / 4096)
            let content = noise(5000, seed: UInt64(index + 1))
            #expect(Array(written.bytes[inode + 64..<inode + 64 + 904]) == Array(content[4096...]))
            let block = Int(written.number(at: inode + 16, 4)) * 4096
            #expect(Array(written.bytes[block..<block + 4096]) == Array(content[..<4096]))
        }
        #expect(written.number(at: try written.inode("no space"), 2) == 1)
    }

    @Test("Inodes of a tar-backed image do not cross a block of 512 bytes")
    func alignment() throws {
        var model = try ErofsModel(.tarBacked)
        var random = SplitMix64(state: 2)
        for index in 0..<200 {
            try model.addSymlink(
                "\(index)", to: Bytes(noise(Int.random(in: 1...440, using: &random)).map { $0 | 1 }))
        }
        let written = try Written(&model)
        for index in 0..<200 {
            let inode = try written.inode("\(index)")
            let end = inode + 64 + Int(written.number(at: inode + 8, 8))
            #expect(inode / 512 == (end - 1) / 512)
        }
    }
}
