import OCI
import TestSupport
import Testing

@Suite("Digests") struct DigestTests {
    static let hex256 = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    static let hex512 = String(repeating: "0123456789abcdef", count: 8)

    @Test("A digest is parsed and written unchanged", arguments: [("sha256", hex256), ("sha512", hex512)])
    func reads(algorithm: String, hex: String) throws {
        let digest = try Digest(parsing: "\(algorithm):\(hex)")
        #expect(digest.algorithm.rawValue == algorithm)
        #expect(digest.hex == hex)
        #expect(digest.description == "\(algorithm):\(hex)")
        #expect(digest.short == "\(algorithm):\(hex.prefix(12))")
    }

    @Test(
        "An invalid digest is rejected",
        arguments: [
            ("", .noAlgorithm("")),
            (hex256, .noAlgorithm(hex256)),
            (":" + hex256, .unknownAlgorithm("")),
            ("md5:\(hex256)", .unknownAlgorithm("md5")),
            ("SHA256:\(hex256)", .unknownAlgorithm("SHA256")),
            ("sha256:", .malformedHex("sha256:")),
            ("sha256:\(hex256.uppercased())", .malformedHex("sha256:\(hex256.uppercased())")),
            ("sha256:\(hex256.dropLast())", .malformedHex("sha256:\(hex256.dropLast())")),
            ("sha256:\(hex256)0", .malformedHex("sha256:\(hex256)0")),
            ("sha512:\(hex256)", .malformedHex("sha512:\(hex256)")),
            ("sha256:../\(hex256.dropLast(3))", .malformedHex("sha256:../\(hex256.dropLast(3))")),
            ("sha256:é\(hex256.dropLast(2))", .malformedHex("sha256:é\(hex256.dropLast(2))")),
        ] as [(String, Digest.ParseError)])
    func refuses(text: String, error: Digest.ParseError) {
        #expect(throws: error) { try Digest(parsing: text) }
    }

    @Test("A digest of bytes is lower-case hex")
    func bytes() {
        let digest = Digest(.sha256, bytes: (0..<32).map { UInt8($0 * 8 + 7) })
        #expect(digest.hex == "070f171f272f373f474f575f676f777f878f979fa7afb7bfc7cfd7dfe7eff7ff")
    }

    /// Computed by hand: printf 'sha256:… sha256:…' | sha256sum.
    @Test("Chain IDs match those of sha256sum")
    func chain() throws {
        let hexes = [
            "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
            "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
            "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6",
        ]
        let expected = [
            "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
            "51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676",
            "2fce7f8ce91bcf0a1428b36e1024639fdbd9469eea762dba98aa749631885106",
        ]
        var chain: ChainID?
        for (hex, expected) in zip(hexes, expected) {
            chain = ChainID(of: DiffID(try Digest(parsing: "sha256:\(hex)")), on: chain)
            #expect(chain?.description == "sha256:\(expected)")
        }
    }

    /// Computed by hand, as above. The lowest chain ID is the diff ID, and so a sha512.
    @Test("Chain IDs of sha512 diff IDs are sha256, except the lowest")
    func chainOfSha512() throws {
        let lower = ChainID(of: DiffID(Digest(.sha512, of: Array("a".utf8))), on: nil)
        #expect(lower.digest == Digest(.sha512, of: Array("a".utf8)))
        let upper = ChainID(of: DiffID(Digest(.sha512, of: Array("b".utf8))), on: lower)
        #expect(
            upper.description == "sha256:80444a8edfc30c0e2323df99941170157d10918afb9fe04ad132b62c5150ffed")
        let mixed = ChainID(of: DiffID(sha256(of: Array("c".utf8))), on: upper)
        #expect(
            mixed.description == "sha256:fc7588e0a149ffa1654f5cd51cc0033801b156221cf182df6cf4fcc467071290")
    }
}
