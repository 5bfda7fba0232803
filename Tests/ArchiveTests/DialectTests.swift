import Archive
import Kernel
import TestSupport
import Testing

extension TarEntry {
    /// A header of the format before POSIX: no fields after the link name.
    fileprivate func v7() -> TarEntry { editing { $0.replaceSubrange(257..<512, with: zeros(255)) } }

    /// A header with GNU's magic, and other bytes in the place of its times and of ustar's prefix.
    fileprivate func gnu(_ tail: Bytes = "") -> TarEntry {
        editing { header in
            header.replaceSubrange(257..<265, with: Array("ustar  \0".utf8))
            header.replaceSubrange(345..<345 + tail.array.count, with: tail.array)
        }
    }

    fileprivate func prefix(_ prefix: Bytes) -> TarEntry {
        editing { $0.replaceSubrange(345..<345 + prefix.array.count, with: prefix.array) }
    }

    /// A separate extended header, before the next entry.
    fileprivate static func extended(_ type: Character, _ contents: Bytes) -> TarEntry {
        var entry = TarEntry(type, "extended")
        entry.contents = contents
        return entry
    }

    fileprivate static func records(_ records: (String, Bytes)...) -> TarEntry {
        extended("x", Bytes(records.flatMap { record(key: $0.0, value: $0.1) }))
    }
}

private func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

private func repeated(_ text: String, _ count: Int) -> Bytes { Bytes(String(repeating: text, count: count)) }

/// Entries and the expected lines.
struct ReadRow: Sendable, CustomStringConvertible {
    let description: String
    let entries: [TarEntry]
    let lines: [String]

    init(_ name: String, _ entries: TarEntry..., reads lines: String...) {
        self.init(name, entries: entries, reads: lines)
    }

    init(_ name: String, entries: [TarEntry], reads lines: [String]) {
        description = name
        self.entries = entries
        self.lines = lines
    }
}

@Suite("Formats of tar") struct DialectTests {
    /// Entries with a size but no data, in each format. The sizes span whole blocks, so that a reader that skips data
    /// misses an entry.
    static let sizesWithoutData: [TarEntry] = [
        .file("old", "1").v7(), .directory("od").v7().withSize(700),
        .hardLink("oh", to: "old").v7().withSize(1), .file("od2/").type(0).v7().withSize(9),
        .file("f", "2"), .directory("d").withSize(4096), .hardLink("h", to: "f").withSize(1024),
        .symlink("l", to: "f").withSize(1), .fifo("p").withSize(512),
        .file("g", "3").gnu(), .hardLink("gh", to: "f").gnu().withSize(513),
        .directory("gd").gnu().withSize(1), .symlink("gl", to: "g").gnu().withSize(600),
    ]

    /// Extended headers that are repeated or empty.
    static let repetitions: [TarEntry] = [
        .extended("L", "long\0"), .extended("L", "long\0"), .file("short", "1").gnu(),
        .extended("K", "old\0"), .extended("L", "link\0"), .extended("K", "old\0"), .extended("L", "link\0"),
        .symlink("s", to: "t").gnu(), .extended("x", ""), .file("plain", "2"), .extended("g", ""),
        .file("last", "3"),
    ]

    /// GNU tar lists a different tree than it extracts; the other readers do not.
    @Test("An entry without data is followed by the next header in every format, whatever its size")
    func sizes() throws {
        for blockSize in [512, 1000, 1 << 20] {
            let entries = try ArchiveTests.read(
                LayerBuilder(Self.sizesWithoutData).tar, blockSize: blockSize)
            #expect(
                entries.map(\.line) == [
                    "- old 1 1", "d od", "h oh -> old", "d od2", "- f 1 2", "d d", "h h -> f", "l l -> f",
                    "p p",
                    "- g 1 3", "h gh -> f", "d gd", "l gl -> g",
                ])
        }
        // A header of another format ends libarchive's PAX mode.
        let mixed = try ArchiveTests.read(
            .file("f").pax("a", "b"), .hardLink("h", to: "f").gnu().withSize(3),
            .hardLink("i", to: "f").withSize(3), .character("c", 1, 3).withSize(5),
            .hardLink("j", to: "f").withSize(3).pax("size", "0"))
        #expect(mixed.map(\.line) == ["- f 0", "h h -> f", "h i -> f", "c c 1:3", "h j -> f"])
    }

    @Test("A repeated identical long name and an extended header without records change nothing")
    func repeatedHeaders() throws {
        for blockSize in [512, 1000, 1 << 20] {
            let entries = try ArchiveTests.read(LayerBuilder(Self.repetitions).tar, blockSize: blockSize)
            #expect(entries.map(\.line) == ["- long 1 1", "l link -> old", "- plain 1 2", "- last 1 3"])
        }
    }

    @Test(
        "A prefix of Go before 1.8 is read at any length",
        arguments: [40, 41, 42, 100, 131, 137, 138, 150, 155], [512, 1000, 1 << 20])
    func goPrefixes(length: Int, blockSize: Int) throws {
        let prefix = String(repeating: "dir/", count: 40).prefix(length - 1) + "x"
        let entries: [TarEntry] = [
            .file("f", "abc").gnu(Bytes(String(prefix))), .directory("d").gnu(Bytes(String(prefix))),
            .symlink("l", to: "f").gnu(Bytes(String(prefix))),
            .hardLink("h", to: "f").gnu(Bytes(String(prefix))).withSize(3),
            .file("large", Bytes.noise(5000)).gnu(Bytes(String(prefix))), .file("after", "x"),
        ]
        let read = try ArchiveTests.read(LayerBuilder(entries).tar, blockSize: blockSize)
        #expect(
            read.map(\.path) == ["f", "d", "l", "h", "large"].map { "\(prefix)/\($0)" } + ["after"])
        #expect(read.map(\.data.count) == [3, 0, 0, 0, 5000, 1])
        #expect(read[4].data == Bytes.noise(5000).array)
    }

    @Test(
        "Names, links and bodies are read by the rules of each format",
        arguments: [
            ReadRow(
                "before POSIX", .file("f", "1").v7(), .file("old/").type(0).v7(),
                .hardLink("h", to: "f").v7(),
                .symlink("l", to: "f").v7(), .file(repeated("n", 100), "2").v7(),
                reads: "- f 1 1", "d old", "h h -> f", "l l -> f", "- \(repeated("n", 100)) 1 2"),
            ReadRow(
                "ustar's prefix", .file("f", "1").prefix("usr/lib"), .file("f", "2").prefix("usr/lib/"),
                .file(repeated("n", 100), "3").prefix(repeated("p", 155)),
                .symlink("l", to: "t").prefix("usr"),
                reads: "- usr/lib/f 1 1", "- usr/lib/f 1 2",
                "- \(repeated("p", 155))/\(repeated("n", 100)) 1 3",
                "l usr/l -> t"),
            ReadRow(
                "no prefix before POSIX",
                .file("f", "1").v7().editing { header in
                    header.replaceSubrange(257..<512, with: zeros(255))
                    header.replaceSubrange(345..<348, with: Array("usr".utf8))
                }, reads: "- f 1 1"),
            ReadRow(
                "GNU's times are no prefix", .file("f", "1").gnu("00000000007\0" + "00000000010\0"),
                reads: "- f 1 1"),
            ReadRow(
                "a prefix under GNU's magic, as Go before 1.8 wrote it", .file("f", "1").gnu("usr/lib/go"),
                reads: "- usr/lib/go/f 1 1"),
            ReadRow(
                "GNU's long names", .extended("L", "long/name\0"), .file("short", "1"),
                .extended("K", "target\0"), .extended("L", "link\0"), .symlink("s", to: "t"),
                .extended("L", "h\0"), .extended("K", "long/name\0"), .hardLink("s", to: "t"),
                reads: "- long/name 1 1", "l link -> target", "h h -> long/name"),
            ReadRow(
                "a link name for other types than links", .extended("K", "target\0"), .file("f", "1"),
                .file("g", "2").pax("linkpath", "target"), .directory("d").pax("linkpath", "target"),
                reads: "- f 1 1", "- g 1 2", "d d"),
            ReadRow(
                "contiguous files", .file("f", "1").type(UInt8(ascii: "7")), .file("g", "2"),
                reads: "- f 1 1", "- g 1 2"),
            ReadRow(
                "AppleDouble files are files", .file("d/._f", "resource"), .file("d/f", "1"),
                .file("._", "2"),
                .file("._last"), reads: "- d/._f 8 resource", "- d/f 1 1", "- ._ 1 2", "- ._last 0"),
            ReadRow(
                "global headers are ignored", TarEntry.globalHeader("path", "elsewhere"), .file("f", "1"),
                TarEntry.globalHeader("size", "700"), .file("g", "2"),
                TarEntry.globalHeader("linkpath", "elsewhere"), .symlink("l", to: "f"),
                TarEntry.globalHeader("GNU.sparse.map", "0,1"), .file("h", "3"),
                .extended("g", "no record"), .file("i", "4"), TarEntry.globalHeader("path", "at the end"),
                reads: "- f 1 1", "- g 1 2", "l l -> f", "- h 1 3", "- i 1 4"),
            ReadRow(
                "31 of them in a row",
                entries: Array(repeating: TarEntry.globalHeader("a", "b"), count: 31)
                    + [.file("f", "1")], reads: ["- f 1 1"]),
            ReadRow(
                "components of 255 bytes, and paths beyond PATH_MAX",
                .file(repeated("n", 255)), .file(repeated("n", 255)).withGNUNames(),
                .file(repeated(String(repeating: "d", count: 255) + "/", 40) + "f"),
                reads: "- \(repeated("n", 255)) 0", "- \(repeated("n", 255)) 0",
                "- \(repeated(String(repeating: "d", count: 255) + "/", 40))f 0"),
            ReadRow(
                "names are bytes, regardless of hdrcharset",
                .file([0x66, 0xE9]), .file("a\nb"), .file("c").pax("path", [0xFF, 0xFE]),
                .file("c").pax("hdrcharset", "BINARY").pax("path", [0xE9]),
                .file("c").pax("hdrcharset", "ISO-IR 10646 2000 UTF-8").pax("path", "é"),
                .file("c").pax("hdrcharset", "ISO-IR 10646 2000 UTF-8").pax("path", [0xE9]),
                .symlink("l", to: "x").pax("hdrcharset", "BINARY").pax("linkpath", [0xE9]),
                reads: #"- f\xe9 0"#, #"- a\x0ab 0"#, #"- \xff\xfe 0"#, #"- \xe9 0"#, "- é 0", #"- \xe9 0"#,
                #"l l -> \xe9"#),
            ReadRow(
                "an empty record cancels the key",
                .file("f", "1").pax("path", ""), .file("g", "2").pax("path", "x").pax("path", ""),
                .symlink("l", to: "t").pax("linkpath", ""), .file("h").pax("size", ""),
                .file("i", "3").pax("size", "700").pax("size", "1"),
                reads: "- f 1 1", "- g 1 2", "l l -> t", "- h 0", "- i 1 3"),
            ReadRow(
                "the last of two records wins",
                .file("f").pax("path", "a").pax("path", "b"),
                .hardLink("l", to: "t").pax("linkpath", "a").pax("linkpath", "b"),
                reads: "- b 0", "h l -> b"),
            ReadRow(
                "ignored records",
                .file("f", "1").pax("SCHILY.fflags", "nodump,immutable")
                    .pax("SCHILY.dev", "7").pax("SCHILY.ino", "99999999999").pax("SCHILY.nlink", "7")
                    .pax("SCHILY.realsize", "700").pax("uname", "nobody").pax("gname", [0xFF])
                    .pax("charset", "x").pax("comment", "\0").pax("LIBARCHIVE.creationtime", "x")
                    .pax("ctime", "y").pax("a", ""), .file("g", "2"),
                reads: "- f 1 1", "- g 1 2"),
            ReadRow(
                "devices of star",
                .character("c", 0, 1).pax("SCHILY.devmajor", "4095")
                    .pax("SCHILY.devminor", "1048575"), reads: "c c 4095:1048575"),
        ])
    func read(row: ReadRow) throws {
        for blockSize in [512, 1000, 1 << 20] {
            let entries = try ArchiveTests.read(LayerBuilder(row.entries).tar, blockSize: blockSize)
            #expect(entries.map(\.line) == row.lines)
        }
    }

    @Test("Owners are read in any notation")
    func owners() throws {
        let entries = try ArchiveTests.read(
            .file("f").owned(2_097_151, 2_097_151), .file("f").owned(2_097_152, 4_294_967_294),
            .file("f").owned(1, 1).pax("uid", "4294967294").pax("gid", "2097152"),
            .file("f").owned(5, 6).pax("uid", "").pax("gid", "7").pax("gid", ""),
            TarEntry.globalHeader("uid", "9"), .file("f").owned(1, 2).v7())
        #expect(entries.map(\.metadata.uid) == [2_097_151, 2_097_152, 4_294_967_294, 5, 1])
        #expect(entries.map(\.metadata.gid) == [2_097_151, 4_294_967_294, 2_097_152, 6, 2])
    }

    @Test("Times come from the record or else from the header, and a cancelled record is ignored")
    func times() throws {
        let entries = try ArchiveTests.read(
            .file("f").at(7).pax("mtime", ""), .file("f").at(7).pax("mtime", "9").pax("mtime", ""),
            .file("f").at(7).pax("mtime", "8").pax("mtime", "9.5"),
            .file("f").pax("mtime", "-9999999999999.5"),
            .file("f").pax("mtime", "9223372036854775807"), TarEntry.globalHeader("mtime", "3"),
            .file("f").at(7),
            .file("f").at(7).gnu("00000000011\0"), .file("f").at(7).gnu("00000000000\0"),
            .file("f").at(7).pax("atime", "8").pax("atime", ""))
        #expect(
            entries.map(\.metadata.modificationTime.seconds) == [
                7, 7, 9, -10_000_000_000_000, .max, 7, 7, 7, 7,
            ])
        #expect(
            entries.map(\.metadata.modificationTime.nanoseconds) == [
                0, 0, 500_000_000, 500_000_000, 0, 0, 0, 0, 0,
            ])
        #expect(entries.suffix(3).map(\.metadata.accessTime.seconds) == [9, 7, 7])
    }

    @Test("The last of two extended attributes with the same name counts")
    func attributes() throws {
        let entries = try ArchiveTests.read(
            .file("f").xattr("user.a", "1").xattr("user.a", "2").pax("LIBARCHIVE.xattr.user.b", "MQ")
                .pax("LIBARCHIVE.xattr.user.b", "Mg"),
            TarEntry.globalHeader("SCHILY.xattr.user.g", "x"), .file("g"))
        #expect(entries.first?.attribute("user.a") == Array("2".utf8))
        #expect(entries.first?.attribute("user.b") == Array("2".utf8))
        #expect(entries.last?.metadata.extendedAttributes == [])
    }

    @Test(
        "Access control lists in the syntax of every writer are parsed",
        arguments: [
            "user::rwx,user:1000:r-x,group::r-x,mask::r-x,other::---",
            "user::rwx,user:lisa:r-x:1000,group::r-x,mask::r-x,other::---",
            "user::rwx\nuser:lisa:rwx:1000\t#effective:r-x\ngroup::r-x\nmask::r-x\nother::---\n",
            "u::rwx,u:1000:rx,g::rx,m:r-x,o:---",
        ] as [Bytes])
    func accessControlLists(text: Bytes) throws {
        let entry = try #require(try ArchiveTests.read(.file("f").pax("SCHILY.acl.access", text)).first)
        let value = try #require(entry.attribute("system.posix_acl_access"))
        #expect(value.count == 4 + 5 * 8)
        #expect(
            value[12..<20].elementsEqual(
                [2, 0, text.description.contains("rwx:1000") ? 7 : 5, 0] + littleEndian(UInt32(1000))))
        let trivial = try ArchiveTests.read(
            .file("f").pax("SCHILY.acl.access", "user::rw-,group::r--,other::r--"),
            .file("f").pax("SCHILY.acl.access", "").pax("SCHILY.acl.default", ""))
        #expect(trivial.map(\.metadata.extendedAttributes) == [[], []])
    }

    @Test(
        "Headers that readers interpret differently are rejected",
        arguments: [
            ([.records(("a", "b")), .file("f").pax("c", "d")], "a second PAX header for one entry"),
            ([.records(("a", "b")), .records(("c", "d")), .file("f")], "a second PAX header for one entry"),
            ([.extended("L", "a\0"), .extended("L", "b\0"), .file("f")], "a second long name for one entry"),
            (
                [.extended("K", "a\0"), .extended("K", "b\0"), .symlink("f", to: "x")],
                "a second long link name for one entry"
            ),
            ([.extended("L", "a\0"), .file("f").pax("path", "b")], "a GNU and a PAX name for one entry"),
            (
                [.records(("path", "b")), .extended("L", "a\0"), .file("f")],
                "a GNU and a PAX name for one entry"
            ),
            (
                [.extended("K", "a\0"), .symlink("f", to: "x").pax("linkpath", "b")],
                "a GNU and a PAX link name for one entry"
            ),
            ([.extended("L", "\0"), .file("f")], "the name is empty"),
            ([.extended("L", ""), .file("f")], "an empty long name"),
            ([.extended("K", ""), .symlink("f", to: "x")], "an empty long link name"),
            (
                [.records(("path", "a")), .extended("x", ""), .file("f")],
                "a second PAX header for one entry"
            ),
            ([.extended("x", "")], "an extended header without an entry"),
            (
                [.file("f").pax("a", "b"), .hardLink("h", to: "f").withSize(3)],
                "an entry without content has a body of 3 bytes"
            ),
            (
                [TarEntry.globalHeader("a", "b"), .file("f"), .hardLink("h", to: "f").withSize(3)],
                "an entry without content has a body of 3 bytes"
            ),
            ([.directory("d").pax("size", "3")], "an entry without content has a body of 3 bytes"),
            ([.symlink("l", to: "f").pax("size", "3")], "an entry without content has a body of 3 bytes"),
            ([.file("d/", "abc").type(0).pax("a", "b")], "a directory with a body of 3 bytes"),
            ([.records(("a", "b"))], "an extended header without an entry"),
            ([.extended("L", "a\0")], "an extended header without an entry"),
            (
                Array(repeating: TarEntry.globalHeader("a", "b"), count: 32) + [.file("f")],
                "more than 31 extended headers in a row"
            ),
            ([.file("f", "1").pax("size", "")], "an empty PAX size for an entry of 1 bytes"),
            ([.file("f", "1").pax("SUN.holesdata", " 0 1")], "a sparse map of Solaris"),
            ([.file("f").pax("uid", "root")], "a uid of 'root'"),
            ([.file("f").pax("uid", "+1")], "a uid of '+1'"),
            ([.file("f").pax("mtime", "--1")], "a time of '--1'"),
            ([.file("f").pax("mtime", "99999999999999999999")], "a time of '99999999999999999999'"),
            ([.file("f").editing { $0[108] = UInt8(ascii: "x") }], "an unreadable number in the header"),
            ([.file("f").editing { $0[136] = UInt8(ascii: "-") }], "an unreadable number in the header"),
            ([.character("c", 1, 1).editing { $0[329] = UInt8(ascii: "8") }], "an unreadable device number"),
            (
                [.file("f", "1").gnu(repeated("1", 42))],
                "an unexpected sparse map, or a missing one"
            ),
            (
                [.file("f").pax("SCHILY.acl.access", "user:lisa:rwx:x")],
                "an access control list with 'user:lisa:rwx:x'"
            ),
            ([.file("f").pax("SCHILY.acl.access", "user::rwz")], "an access control list with 'user::rwz'"),
            ([.file("f").pax("SCHILY.acl.default", "nobody")], "an access control list with 'nobody'"),
            (
                [.file("f").pax("SCHILY.acl.access", "").pax("SCHILY.acl.access", "")],
                "a second SCHILY.acl.access"
            ),
            (
                [.file("f").pax("SCHILY.acl.ace", repeated("x", 16385))],
                "SCHILY.acl.ace of 16385 bytes, and at most 16384 are read"
            ),
        ] as [([TarEntry], String)])
    func refused(entries: [TarEntry], reason: String) {
        for blockSize in [512, 1 << 20] {
            let tar = LayerBuilder(entries).tar
            let failure = #expect(throws: ArchiveFailure.self) {
                try ArchiveTests.read(tar, blockSize: blockSize)
            }
            #expect(failure?.reason.description == reason)
        }
    }
}
