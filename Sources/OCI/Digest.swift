/// The digest of a blob as stored: `algorithm:hex` (OCI image spec, descriptor.md, "Digests").
///
/// For a layer this is the digest of the *compressed* blob. The digest of the uncompressed tar is a `DiffID`, and
/// that of a layer with all layers below it a `ChainID`: three types, so that they cannot be mixed up.
package struct Digest: Hashable, Sendable, CustomStringConvertible {
    package enum Algorithm: String, Hashable, Sendable, CaseIterable {
        case sha256, sha512

        /// Number of hex digits of a digest.
        package var hexLength: Int {
            switch self {
            case .sha256: 64
            case .sha512: 128
            }
        }
    }

    package enum ParseError: Error, Equatable, Sendable, CustomStringConvertible {
        case noAlgorithm(String)
        case unknownAlgorithm(String)
        case malformedHex(String)

        package var description: String {
            switch self {
            case .noAlgorithm(let text): "'\(text)' is not a digest (expected 'sha256:' and 64 hex digits)"
            case .unknownAlgorithm(let name):
                "digest algorithm '\(name)' is not supported (sha256 and sha512 are)"
            case .malformedHex(let text): "digest '\(text)' does not have the hex digits of its algorithm"
            }
        }
    }

    package let algorithm: Algorithm
    /// Exactly `algorithm.hexLength` lower-case digits: safe as a file name.
    package let hex: String

    package init(parsing text: String) throws(ParseError) {
        guard let colon = text.firstIndex(of: ":") else { throw .noAlgorithm(text) }
        let name = String(text[..<colon])
        guard let algorithm = Algorithm(rawValue: name) else { throw .unknownAlgorithm(name) }
        let hex = text[text.index(after: colon)...]
        let isHex = hex.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        guard hex.utf8.count == algorithm.hexLength, isHex else { throw .malformedHex(text) }
        self.algorithm = algorithm
        self.hex = String(hex)
    }

    /// Creates a digest from a finished hash.
    ///
    /// - Precondition: `bytes` has the length of the algorithm's hash.
    package init(_ algorithm: Algorithm, bytes: some Sequence<UInt8>) {
        self.algorithm = algorithm
        let digits = Array("0123456789abcdef".utf8)
        hex = String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    package var description: String { "\(algorithm.rawValue):\(hex)" }

    /// The algorithm and the first 12 digits, for messages: `sha256:9f2c84d1a0b3`.
    package var short: String { "\(algorithm.rawValue):\(hex.prefix(12))" }
}

extension Digest: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        do {
            try self.init(parsing: try container.decode(String.self))
        } catch let error as ParseError {
            throw DecodingError.dataCorrupted(
                .init(codingPath: container.codingPath, debugDescription: "\(error)", underlyingError: error))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
