import Compression
import TestSupport
import Testing

struct ChecksumTests {
    /// Expected values from cksum(1) of GNU coreutils.
    @Test(
        "The checksum is that of cksum(1)",
        arguments: [("", 4_294_967_295), ("hello", 3_287_646_509), ("a", 1_220_704_766)] as [(String, UInt32)]
    )
    func known(text: String, expected: UInt32) {
        var checksum = Checksum()
        checksum.update(Array(text.utf8).span.bytes)
        #expect(checksum.finish() == expected)
    }

    @Test(
        "The checksum does not depend on the length of the pieces",
        .enabled(if: TestEnvironment.has("cksum"), "no cksum"))
    func pieces() throws {
        let bytes = Bytes.noise(100_000).array
        let expected = try Command.run("cksum", input: bytes).succeed().text.split(separator: " ")[0]
        for size in [1, 7, 4096, 65_537] {
            var checksum = Checksum()
            for start in stride(from: 0, to: bytes.count, by: size) {
                checksum.update(Array(bytes[start..<min(start + size, bytes.count)]).span.bytes)
            }
            #expect("\(checksum.finish())" == expected)
        }
    }

    @Test(
        "Zeros of a hole count like written zeros", arguments: [0, 1, 7, 255, 256, 4096, 100_003])
    func zeros(count: Int) {
        var short = Checksum()
        short.update([1, 2, 3].span.bytes)
        var long = short
        short.update(zeros: Int64(count))
        long.update([UInt8](repeating: 0, count: count).span.bytes)
        for bytes in [[], [9, 8, 7] as [UInt8]] {
            short.update(bytes.span.bytes)
            long.update(bytes.span.bytes)
            #expect(short.finish() == long.finish())
        }
    }

    @Test("A hole of the largest size counts like two smaller ones")
    func manyZeros() {
        var atOnce = Checksum()
        var inTwo = Checksum()
        atOnce.update([1].span.bytes)
        inTwo.update([1].span.bytes)
        atOnce.update(zeros: .max)
        inTwo.update(zeros: .max / 3)
        inTwo.update(zeros: .max - .max / 3)
        #expect(atOnce.finish() == inTwo.finish())
    }
}
