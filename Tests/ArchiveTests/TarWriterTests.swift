import Archive
import Kernel
import Streams
import TestSupport
import Testing

@Suite("Writing of tars")
struct TarWriterTests {
    private final class Bytes: @unchecked Sendable { var all = [UInt8]() }

    /// Writes a tar of members, each with its data in pieces.
    private func tar(_ members: [(TarMember, [(Int64, [UInt8])])]) throws -> [UInt8] {
        let bytes = Bytes()
        var writer = TarWriter { span in span.withUnsafeBytes { bytes.all += $0 } }
        for (member, pieces) in members {
            try writer.begin(member)
            for (offset, piece) in pieces {
                let isRight = try piece.withRawSpan { try writer.write($0, at: offset) }
                #expect(isRight)
            }
            let isWhole = writer.end()
            #expect(isWhole)
        }
        try writer.finish()
        return bytes.all
    }

    private func names(_ path: String) -> [FileName] {
        path.split(separator: "/").map { FileName(literal: String($0)) }
    }

    private func metadata(
        mode: UInt32 = 0o644, _ uid: UInt32 = 0, _ gid: UInt32 = 0, _ seconds: Int64 = 0,
        _ nanoseconds: UInt32 = 0,
        _ attributes: [(String, [UInt8])] = []
    ) -> Metadata {
        Metadata(
            uid: uid, gid: gid, mode: mode,
            modificationTime: Timestamp(seconds: seconds, nanoseconds: nanoseconds),
            extendedAttributes: attributes.map {
                ExtendedAttribute(name: AttributeName(literal: $0), value: $1)
            })
    }

    @Test("Written members are read back unchanged, at the limits of every field")
    func roundTrip() throws {
        let long = String(repeating: "d/", count: 150) + "f"
        let members: [(TarMember, String)] = [
            (TarMember(path: [], .directory, metadata(mode: 0o755)), "d /"),
            (TarMember(path: names("a/b"), .directory, metadata(mode: 0o1777)), "d a/b"),
            (
                TarMember(path: names("l"), .symlink(Array(long.utf8)), metadata(mode: 0o777)),
                "l l -> \(long)"
            ),
            (TarMember(path: names("h"), .hardLink(Array(long.utf8)), metadata()), "h h -> \(long)"),
            (TarMember(path: names("p"), .fifo, metadata()), "p p"),
            (
                TarMember(
                    path: names("c"), .character(DeviceNumber(major: 4095, minor: 1_048_575)), metadata()),
                "c c 4095:1048575"
            ),
            (TarMember(path: names("b"), .block(DeviceNumber(major: 7, minor: 1)), metadata()), "b b 7:1"),
            (TarMember(path: names(long), .regular(size: 0, ranges: nil), metadata()), "- \(long) 0"),
            (TarMember(path: [FileName([0xFF, 10])!], .symlink([0xFE]), metadata()), #"l \xff\x0a -> \xfe"#),
            (
                TarMember(path: names(String(repeating: "n", count: 100)), .fifo, metadata()),
                "p " + String(repeating: "n", count: 100)
            ),
            (
                TarMember(path: names(String(repeating: "n", count: 101)), .fifo, metadata()),
                "p " + String(repeating: "n", count: 101)
            ),
        ]
        let entries = try read(try tar(members.map { ($0.0, []) }))
        #expect(entries.map(\.line) == members.map(\.1))
        #expect(entries.map(\.metadata) == members.map(\.0.metadata))
    }

    @Test(
        "Owners, times and attributes are preserved",
        arguments: [
            (0, 0), (0, 1), (-1, 0), (-1, 500_000_000), (-8, 250_000_000), (1 << 33, 0),
            ((1 << 33) - 1, 999_999_999),
            (Int64.max / 4, 7), (-1_000_000_000_000, 1),
        ] as [(Int64, UInt32)])
    func values(seconds: Int64, nanoseconds: UInt32) throws {
        let attributes: [(String, [UInt8])] = [
            ("security.capability", [1, 0, 0, 2] + [UInt8](repeating: 0, count: 16)),
            ("user.a b%c", [0, 10, 255]),
            ("user.empty", []),
        ]
        let member = TarMember(
            path: names("f"), .regular(size: 3, ranges: nil),
            metadata(mode: 0o7777, 2_097_152, UInt32.max - 1, seconds, nanoseconds, attributes))
        let other = TarMember(path: names("g"), .fifo, metadata(mode: 0, 2_097_151, 2_097_152))
        let entries = try read(try tar([(member, [(0, [1, 2]), (2, [3])]), (other, [])]))
        #expect(entries.map(\.metadata) == [member.metadata, other.metadata])
        #expect(entries[0].data == [1, 2, 3])
    }

    @Test("An access control list is preserved, and the mode of its file too")
    func accessControl() throws {
        let text: TestSupport.Bytes =
            "user::rwx,user:lisa:r-x:1000,group::r-x,group:7:rwx,mask::r--,other::---"
        let entry = try #require(
            try read(
                LayerBuilder(
                    TarEntry.file("f").mode(0o740).pax("SCHILY.acl.access", text).pax(
                        "SCHILY.acl.default", text)
                ).tar
            ).first)
        let member = TarMember(path: names("f"), .regular(size: 0, ranges: nil), entry.metadata)
        let bytes = try tar([(member, [])])
        #expect(try read(bytes).map(\.metadata) == [entry.metadata])
        let record =
            "SCHILY.acl.access=user::rwx,user:1000:r-x:1000,group::r-x,group:7:rwx:7,mask::r--,other::---\n"
        #expect(String(decoding: bytes, as: UTF8.self).contains(record))
        #expect(entry.metadata.updatingAccessControlToMode() == entry.metadata)
        var changed = entry.metadata
        changed.mode = 0o451
        let list = changed.updatingAccessControlToMode().extendedAttributes.first?.value
        #expect(list?.count == entry.attribute("system.posix_acl_access")?.count)
        #expect(list != entry.attribute("system.posix_acl_access"))
    }

    /// GNU tar reads each piece in whole blocks.
    @Test(
        "Holes are preserved in whole blocks",
        arguments: [
            ([], []), ([0..<5], [0..<512]), ([600..<1300], [512..<1536]),
            ([0..<1, 7..<8, 9000..<10000], [0..<512, 8704..<10000]),
            ([511..<512, 1024..<1025], [0..<512, 1024..<1536]),
            ([9999..<10000], [9728..<10000]), ([0..<1, 512..<1024, 1500..<9900], [0..<10000]),
            ([100..<100], []),
        ] as [([Range<Int64>], [Range<Int64>])])
    func holes(ranges: [Range<Int64>], pieces expected: [Range<Int64>]) throws {
        let size: Int64 = 10_000
        let pieces = ranges.map { ($0.lowerBound, [UInt8](repeating: 7, count: $0.count)) }
        let member = TarMember(path: names("a/sparse"), .regular(size: size, ranges: ranges), metadata())
        let next = TarMember(path: names("next"), .fifo, metadata())
        let entries = try read(try tar([(member, pieces), (next, [])]))
        #expect(entries.map(\.line) == [entries[0].line, "p next"] && entries[0].path == "a/sparse")
        #expect(entries[0].pieces.filter { !$0.isEmpty } == expected)
        var data = [UInt8](repeating: 0, count: Int(size))
        for range in ranges { for index in range { data[Int(index)] = 7 } }
        #expect(entries[0].data == data)
    }

    @Test("Data that the header did not announce is rejected, and so is an attribute name with '='")
    func refusals() throws {
        var writer = TarWriter { _ in }
        func member(_ content: TarMember.Content, _ attributes: [(String, [UInt8])] = []) -> TarMember {
            TarMember(path: names("f"), content, metadata(0, 0, 0, 0, attributes))
        }
        func write(_ bytes: [UInt8], at offset: Int64) throws -> Bool {
            try bytes.withRawSpan { try writer.write($0, at: offset) }
        }
        try writer.begin(member(.regular(size: 2, ranges: nil)))
        let results = [try write([1], at: 1), try write([1], at: 0), try write([1, 2], at: 1)]
        #expect(results == [false, true, false])
        let isWhole = writer.end()
        #expect(!isWhole)
        try writer.begin(member(.regular(size: 9, ranges: [4..<5])))
        let sparse = [try write([1], at: 3), try write([1], at: 4), try write([1], at: 5)]
        #expect(sparse == [false, true, false])
        #expect(throws: ArchiveFailure.Reason.self) { () throws in
            try writer.begin(member(.fifo, [("user.a=b", [])]))
        }
    }
}
