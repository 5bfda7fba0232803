internal import Crypto
internal import Kernel
package import OCI

/// An incremental digest of a stream.
package struct Digester {
    private enum Hash {
        case sha256(SHA256)
        case sha512(SHA512)
    }

    private var hash: Hash
    /// Number of bytes digested so far.
    package private(set) var count: Int64 = 0

    package init(_ algorithm: OCI.Digest.Algorithm) {
        hash =
            switch algorithm {
            case .sha256: .sha256(SHA256())
            case .sha512: .sha512(SHA512())
            }
    }

    package mutating func update(_ bytes: RawSpan) {
        count += Int64(bytes.byteCount)
        bytes.withUnsafeBytes { memory in
            switch hash {
            case .sha256(var state):
                // Replaced first, so that the state is uniquely referenced and updated in place instead of copied.
                hash = .sha256(SHA256())
                state.update(bufferPointer: memory)
                hash = .sha256(state)
            case .sha512(var state):
                hash = .sha512(SHA512())
                state.update(bufferPointer: memory)
                hash = .sha512(state)
            }
        }
    }

    package mutating func update(_ bytes: [UInt8]) { bytes.withRawSpan { update($0) } }

    package func finish() -> OCI.Digest {
        switch hash {
        case .sha256(let state): OCI.Digest(.sha256, bytes: state.finalize())
        case .sha512(let state): OCI.Digest(.sha512, bytes: state.finalize())
        }
    }
}
