import Archive
import Kernel
import TestSupport
import Testing

private let long = Bytes(String(repeating: "d/", count: 100) + String(repeating: "n", count: 200))

@Suite("Entries of a layer") struct EntryTests {
    @Test("Every type is read with any block size", arguments: [512, 1000, 1 << 20])
    func types(blockSize: Int) throws {
        let layer = LayerBuilder(
            .directory("./"), .directory("d/"), .file("d/f", "abc"), .file("empty"),
            .symlink("l", to: "../x"),
            .hardLink("h", to: "./d/f"), .fifo("p"), .character("c", 1, 3), .block("b", 4095, 1_048_575),
            .file("seven", "s").type(UInt8(ascii: "7")), .file("old", "o").type(0), .file("dir/").type(0),
            TarEntry.globalHeader("path", "elsewhere"), .file("big", .noise(5000)))
        let entries = try read(layer.tar, blockSize: blockSize)
        #expect(
            entries.dropLast().map(\.line) == [
                "d /", "d d", "- d/f 3 abc", "- empty 0", "l l -> ../x", "h h -> d/f", "p p", "c c 1:3",
                "b b 4095:1048575", "- seven 1 s", "- old 1 o", "d dir",
            ])
        #expect(entries.last?.path == "big")
        #expect(entries.last?.data == Bytes.noise(5000).array)
    }

    @Test("Offsets are those of the entries' own headers")
    func offsets() throws {
        let entries = try read(.file("a", "1"), .file("b").xattr("user.x", "1"), .file("c"))
        #expect(entries.map(\.entry.offset) == [0, 2048, 2560])
    }

    @Test(
        "Names of any length and any bytes are preserved",
        arguments: [
            .file(long), .file(long).withGNUNames(), .symlink(long, to: long),
            .symlink("l", to: long).withGNUNames(),
            .hardLink("h", to: long), .hardLink(long, to: long).withGNUNames(), .file([0x66, 0xE9, 0x80]),
            .symlink("l", to: [0xFF, 0x2F, 0xFE]), .file("short").pax("path", [0x66, 0xE9]),
            .file("sp ace\n\ttab\\ \"quote"), .file("é").pax("path", "日本語"),
        ] as [TarEntry])
    func names(entry: TarEntry) throws {
        let read = try #require(try read(entry).first)
        let path = entry.records.first { $0.key == "path" }?.value ?? entry.path
        #expect(read.entry.path == (try EntryPath(path.array)))
        switch read.entry.content {
        case .symlink(let target): #expect(target == entry.target.array)
        case .hardLink(let target): #expect(target == (try EntryPath(entry.target.array)))
        default: #expect(entry.target.array.isEmpty)
        }
    }

    @Test(
        "Mode and owner are read, including setuid, setgid and sticky",
        arguments: [0o7777, 0o4755, 0o2750, 0o1777, 0])
    func mode(mode: Int64) throws {
        let metadata = try #require(try read(.file("f").mode(mode).owned(4_294_967_294, 70000)).first)
            .metadata
        #expect(metadata.mode == UInt32(mode))
        #expect(metadata.uid == 4_294_967_294)
        #expect(metadata.gid == 70000)
    }

    @Test("The mode is the header's, also with an ACL and with type bits")
    func modeBits() throws {
        let list: Bytes = "user::rw-,user:7:r--,group::---,mask::r--,other::---"
        let entries = try read(
            .file("f").mode(0o640).pax("SCHILY.acl.access", list), .file("g").mode(0o100_644))
        #expect(entries.map(\.metadata.mode) == [0o640, 0o644])
    }

    @Test(
        "Times have nanoseconds and may be before 1970",
        arguments: [
            ("0", 0, 0), ("1", 1, 0), ("1.5", 1, 500_000_000), ("1.000000001", 1, 1), ("1.0000000019", 1, 1),
            ("-1", -1, 0), ("-1.25", -2, 750_000_000), ("-0.000000001", -1, 999_999_999),
            ("-.5", -1, 500_000_000),
            ("99999999999", 99_999_999_999, 0), ("4294967296.123456789", 4_294_967_296, 123_456_789),
            ("-1.0000000001", -2, 999_999_999),
        ])
    func times(record: String, seconds: Int64, nanoseconds: UInt32) throws {
        let expected = Timestamp(seconds: seconds, nanoseconds: nanoseconds)
        let entry = try #require(try read(.file("f").pax("mtime", Bytes(record))).first)
        #expect(entry.metadata.modificationTime == expected)
        #expect(entry.metadata.accessTime == expected)
        let both = try read(.file("f").at(7).pax("atime", Bytes(record)))
        #expect(both.first?.metadata.accessTime == expected)
        #expect(both.first?.metadata.modificationTime == Timestamp(seconds: 7, nanoseconds: 0))
    }

    @Test("A time in the header block is read in octal and in base 256")
    func headerTimes() throws {
        let late = TarEntry.file("f").editing { header in
            header.replaceSubrange(
                136..<148, with: [0x80, 0, 0, 0] + littleEndian(Int64(1) << 40).reversed())
        }
        let early = TarEntry.file("f").editing { header in
            header.replaceSubrange(136..<148, with: [UInt8](repeating: 0xFF, count: 12))
        }
        let times = try read(.file("f").at(1_700_000_000), late, early).map(
            \.metadata.modificationTime.seconds)
        #expect(times == [1_700_000_000, 1 << 40, -1])
    }

    /// As in Go; GNU tar and libarchive create a directory for each.
    @Test("A file whose name ends in a slash is a directory only with the type from before POSIX")
    func trailingSlash() throws {
        let entries = try read(
            .file("old/").type(0), .file("zero/"), .file("seven/").type(UInt8(ascii: "7")), .directory("d"),
            .file("short").pax("path", "by/record/").type(0))
        #expect(entries.map(\.line) == ["d old", "- zero 0", "- seven 0", "d d", "d by/record"])
    }

    @Test("A PAX size overrides the header's")
    func size() throws {
        let entries = try read(.file("f", "abcdef").withSize(0).pax("size", "6"), .file("g", "x"))
        #expect(entries.map(\.line) == ["- f 6 abcdef", "- g 1 x"])
    }

    @Test(
        "Extended attributes have binary values, and SCHILY records take precedence over LIBARCHIVE records")
    func attributes() throws {
        let value: Bytes = [0, 0x0A, 0x3D, 0xFF]
        let entries = try read(
            .file("f").xattr("user.binary", value).xattr("user.empty", "").xattr("user.a=b", "c")
                .pax("LIBARCHIVE.xattr.user.only", "eHl6").pax("LIBARCHIVE.xattr.user.binary", "eHl6"),
            .file("g"))
        let first = try #require(entries.first)
        #expect(first.attribute("user.binary") == value.array)
        #expect(first.attribute("user.empty") == [])
        #expect(first.attribute("user.only") == Array("xyz".utf8))
        #expect(entries.last?.metadata.extendedAttributes == [])
    }

    @Test("POSIX ACLs are converted to the form of setxattr(2)")
    func accessControlLists() throws {
        let entry = try #require(
            try read(
                .directory("d").pax(
                    "SCHILY.acl.access", "user::rwx,user:1000:r-x,group::r-x,mask::r-x,other::---"
                )
                .pax("SCHILY.acl.default", "user::rwx,group::r-x,other::---")
            ).first)
        func item(_ tag: UInt16, _ permissions: UInt16, _ id: UInt32 = .max) -> [UInt8] {
            littleEndian(tag) + littleEndian(permissions) + littleEndian(id)
        }
        let access = item(1, 7) + item(2, 5, 1000) + item(4, 5) + item(0x10, 5) + item(0x20, 0)
        #expect(entry.attribute("system.posix_acl_access") == littleEndian(UInt32(2)) + access)
        let inherited = item(1, 7) + item(4, 5) + item(0x20, 0)
        #expect(entry.attribute("system.posix_acl_default") == littleEndian(UInt32(2)) + inherited)
    }
}
