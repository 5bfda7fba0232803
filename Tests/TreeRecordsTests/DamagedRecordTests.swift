import Kernel
import TestSupport
import Testing
import TreeRecords

@Suite(.enabled(if: TestEnvironment.canApplyLayers))
private struct DamagedRecordTests {
    @Test func refusesARecordThatIsCutOff() throws {
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        let digest = try scratch.write()
        let text = try scratch.text
        for length in 0..<text.utf8.count where length % 97 == 0 || length > text.utf8.count - 40 {
            try scratch.replaceRecord(String(text.prefix(length)))
            #expect(throws: TreeRecordFailure.self) { try scratch.compare() }
            #expect {
                try scratch.compare(digest)
            } throws: { error in
                if case TreeRecordFailure.altered(digest, _) = error { true } else { false }
            }
        }
    }

    @Test(arguments: [
        ("#mtree", "mtree", 1), ("./dir type", "./zzz type", 4), ("./dir type", "/dir type", 3),
        ("./dir type", "./../dir type", 3), ("./dir type", "./dir//x type", 3), ("./dir type", "type", 3),
        ("./dir type", "./d\\999 type", 3), ("./dir type", "./d\\151r type", 3), ("./dir type", " type", 3),
        ("./dir/empty", "./dir", 4), (". type=dir", "./a type=dir", 2), (". type=dir", ". mode=1", 2),
        (". type=dir", ". type=dir type=dir", 2), (". type=dir", ". type=dir  x=y", 2),
        (". type=dir", ". type=dir x", 2), (". type=dir", ". type=dir =x", 2),
        (". type=dir", ". type=dir x=\u{1B}", 2), ("./dir type", "# 1 paths\n./dir type", 4),
        ("./dir type", "#comment\n./dir type", 3), ("./dir type", "\n./dir type", 3),
    ])
    func refusesAMalformedRecord(_ text: String, _ replacement: String, _ line: Int) throws {
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        try scratch.write()
        let record = try scratch.text
        let range = try #require(record.firstRange(of: text))
        try scratch.replaceRecord(record.replacing(text, with: replacement, subrange: range))
        #expect {
            try scratch.compare()
        } throws: { error in
            if case TreeRecordFailure.malformed(line, _) = error { true } else { false }
        }
    }

    /// Without the digest, each flipped bit of a record gives a difference or a refusal, and no crash.
    @Test func noticesEveryFlippedBitOfARecord() throws {
        let scratch = try RecordScratch()
        try scratch.tree.write("a b", "hello")
        try scratch.tree.make("d") { try $0.setOpacity(.opaque) }
        try scratch.write()
        let record = Array(try scratch.text.utf8)
        for bit in 0..<record.count * 8 {
            var altered = record
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            try scratch.folder.removeTree(scratch.record)
            try scratch.temporary.write("record", altered)
            do {
                #expect(try !scratch.compare().isEmpty, "byte \(bit / 8)")
            } catch is TreeRecordFailure {
                continue
            }
        }
    }
}
