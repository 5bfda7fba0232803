import OCI
import Streams
import TestSupport
import Testing

@Suite("Digests of streams") struct DigesterTests {
    /// Expected values from sha256sum and sha512sum.
    @Test(
        "Known digests",
        arguments: [
            (.sha256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (.sha256, "a", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
            (.sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                .sha512, "",
                "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
                    + "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
            ),
            (
                .sha512, "abc",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                    + "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            ),
        ] as [(Digest.Algorithm, String, String)])
    func known(algorithm: Digest.Algorithm, text: String, hex: String) {
        var digester = Digester(algorithm)
        digester.update(Array(text.utf8))
        #expect(digester.finish().description == "\(algorithm.rawValue):\(hex)")
        #expect(digester.count == Int64(text.utf8.count))
    }

    @Test(
        "The digest does not depend on the length of the pieces", arguments: Digest.Algorithm.allCases,
        [1, 7, 64, 1000, 9999])
    func pieces(algorithm: Digest.Algorithm, length: Int) throws {
        let bytes = Bytes.noise(10_000).array
        let tool = try Command.run("\(algorithm.rawValue)sum", input: bytes).succeed().text.prefix(
            algorithm.hexLength)
        var digester = Digester(algorithm)
        for start in stride(from: 0, to: bytes.count, by: length) {
            digester.update(Array(bytes[start..<min(start + length, bytes.count)]))
        }
        #expect(digester.finish().hex == tool)
        #expect(digester.count == 10_000)
    }
}
