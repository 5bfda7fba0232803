import Compression
import Kernel
import Streams
import SystemPackage
import TestSupport
import Testing
import TreeRecords

@Suite(.enabled(if: TestEnvironment.canApplyLayers))
private struct RecordContentTests {
    @Test func readsFilesOfAnySize() throws {
        let scratch = try RecordScratch()
        for size in [0, 1, 65536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1] {
            try scratch.tree.write("\(size)", .noise(size))
        }
        let hole = try scratch.tree.openOrCreateFile(FileName(literal: "hole"), mode: 0o644)
        try hole.truncate(to: 3 << 20)
        try hole.close()
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        for size in [1, 65536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1] {
            try scratch.tree.keepingTime {
                var content = Bytes.noise(size)
                content.array[size - 1] ^= 1
                try $0.write("\(size)", content)
            }
            let found = try scratch.compare(digest)
            #expect(found.count == 1 && found[0].hasPrefix("\(size): the content's digest is "))
            try scratch.tree.keepingTime { try $0.write("\(size)", .noise(size)) }
        }
    }

    @Test func doesNotReadFilesWithKnownDigests() throws {
        let scratch = try RecordScratch()
        try scratch.temporary.write("tree/a", Bytes.noise(1000).array)
        try scratch.temporary.write("tree/b", [1])
        let digest = try scratch.write()
        let text = try scratch.text
        var digester = ContentDigester()
        digester.update(Bytes.noise(1000).array.span.bytes, at: 0)
        let known = digester.finish(size: 1000)
        #expect(text.contains("size=1000 sha256blocks=\(known.hex)"))
        #expect(try scratch.write { $0.size == 1000 ? known : nil } == digest)
        #expect(try scratch.text == text)
        var other = ContentDigester()
        let wrong = other.finish(size: 0)
        #expect(try scratch.write { $0.size == 1000 ? wrong : nil } != digest)
        #expect(try scratch.text == text.replacing(known.hex, with: wrong.hex))
    }

    @Test func readsNoHoles() throws {
        let scratch = try RecordScratch()
        let file = try scratch.tree.openOrCreateFile(FileName(literal: "sparse"), mode: 0o644)
        try file.truncate(to: 8 << 40)
        try file.write([1, 2, 3].span.bytes, at: 1 << 40)
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        try file.write([4].span.bytes, at: (1 << 40) + 1)
        #expect(try scratch.compare(digest).count { $0.contains("the content's digest") } == 1)
    }

    /// Earlier versions recorded cksum(1).
    @Test func readsRecordsOfChecksums() throws {
        let scratch = try RecordScratch()
        let tree = scratch.tree
        try tree.write("a", "hello")
        try tree.write("empty", "")
        let file = try tree.openOrCreateFile(FileName(literal: "hole"), mode: 0o644)
        try file.truncate(to: 1 << 20)
        try file.write([5].span.bytes, at: 540_000)
        try file.close()
        try scratch.write()
        let withDigests = try TreeComparison.compare(
            tree: tree, with: scratch.record, in: scratch.folder, digest: nil, report: { _ in })
        #expect(withDigests.strength == .digest && withDigests.paths == 4)
        var text = try scratch.text
        for name in ["a", "empty", "hole"] {
            let path = scratch.path.appending(name).string
            let sum = try Command.run("cksum", path).succeed().text.split(separator: " ")[0]
            let digest = try #require(text.firstMatch(of: /sha256blocks=[0-9a-f]{64}/)?.output)
            text = text.replacing(digest, with: "cksum=\(sum)", maxReplacements: 1)
        }
        try scratch.replaceRecord(text)
        let compared = try TreeComparison.compare(
            tree: tree, with: scratch.record, in: scratch.folder, digest: nil,
            report: { Issue.record("\($0)") })
        #expect(compared.strength == .checksum && compared.paths == 4)
        try tree.keepingTime { try $0.write("a", "hallo") }
        #expect(try scratch.compare() == ["a: the content's checksum is 3808494254, recorded as 3287646509"])
    }

    /// Four chosen bytes give any content any CRC-32.
    @Test func findsForgedContent() throws {
        let scratch = try RecordScratch()
        let name = Bytes("tool")
        let content = Array("the program that was verified\n".utf8)
        try scratch.tree.write(name, Bytes(content))
        let digest = try scratch.write()
        let path = scratch.path.appending("tool").string
        let sum = try Command.run("cksum", path).succeed().text
        try scratch.tree.keepingTime {
            try $0.write(
                name, Bytes(forged(from: Array("#!/bin/sh: evil, EVIL, evil\n".utf8), like: content)))
        }
        #expect(try Command.run("cksum", path).succeed().text == sum, "the attack itself")
        let found = try scratch.compare(digest)
        #expect(found.count == 1 && found[0].hasPrefix("tool: the content's digest is "))
    }

    /// Content with another beginning, the same length and the same cksum(1): the last four bytes are the solution of
    /// a linear system.
    private func forged(from start: [UInt8], like content: [UInt8]) -> [UInt8] {
        func sum(_ bytes: [UInt8]) -> UInt32 {
            var checksum = Checksum()
            checksum.update(bytes.span.bytes)
            return checksum.finish()
        }
        var result = Array((start + content).prefix(content.count - 4)) + [0, 0, 0, 0]
        let difference = sum(result) ^ sum(content)
        // The effect of each bit of the four bytes on the sum, as a system of equations over GF(2).
        var rows = (0..<32).map { bit -> (effect: UInt32, bits: UInt32) in
            var other = result
            other[result.count - 4 + bit / 8] ^= 1 << UInt8(bit % 8)
            return (sum(other) ^ sum(result), 1 << UInt32(bit))
        }
        var rest = difference
        var solution: UInt32 = 0
        for column in 0..<32 {
            let mask = UInt32(1) << UInt32(column)
            guard let pivot = rows.firstIndex(where: { $0.effect & mask != 0 }) else { continue }
            let row = rows.remove(at: pivot)
            rows = rows.map { $0.effect & mask != 0 ? ($0.effect ^ row.effect, $0.bits ^ row.bits) : $0 }
            if rest & mask != 0 {
                rest ^= row.effect
                solution ^= row.bits
            }
        }
        for bit in 0..<32 where solution >> UInt32(bit) & 1 == 1 {
            result[result.count - 4 + bit / 8] ^= 1 << UInt8(bit % 8)
        }
        return result
    }
}
