internal import Kernel
internal import OCI

/// A digest of a file's content that does not depend on whether zeros are stored as holes.
///
/// It is not a digest of the plain bytes: holes cost no time, whatever file size an image declares.
package struct ContentDigest: Hashable, Sendable {
    private let first: UInt64
    private let second: UInt64
    private let third: UInt64
    private let fourth: UInt64

    /// The digest as 64 hex digits.
    package var hex: String {
        [first, second, third, fourth].map { String($0, radix: 16, minimumDigits: 16) }.joined()
    }

    fileprivate init(_ digest: Digest) {
        var words = [UInt64](repeating: 0, count: 4)
        for (index, digit) in digest.hex.utf8.enumerated() {
            let value = digit < UInt8(ascii: "a") ? digit - UInt8(ascii: "0") : digit - UInt8(ascii: "a") + 10
            words[index / 16] = words[index / 16] << 4 | UInt64(value)
        }
        (first, second, third, fourth) = (words[0], words[1], words[2], words[3])
    }
}

/// Digests a file's data in pieces: SHA-256 over each block that is not all zeros, preceded by its offset, and over
/// the file size.
package struct ContentDigester {
    private static let blockSize = 1 << 16

    private var digester = Digester(.sha256)
    /// The bytes of the current block up to `position`.
    private var begun = [UInt8]()
    private var position: Int64 = 0

    package init() {}

    /// - Parameter offset: at or after the end of the previous piece.
    package mutating func update(_ bytes: RawSpan, at offset: Int64) {
        skip(to: offset)
        var used = 0
        while used < bytes.byteCount {
            let free = Self.blockSize - begun.count
            let count = min(free, bytes.byteCount - used)
            let piece = bytes.extracting(used..<used + count)
            if count == Self.blockSize {
                add(piece, at: position)
                position += Int64(count)
            } else {
                piece.withUnsafeBytes { begun += $0 }
                position += Int64(count)
                if count == free { endBlock() }
            }
            used += count
        }
    }

    /// - Parameter size: size of the whole file in bytes.
    package mutating func finish(size: Int64) -> ContentDigest {
        skip(to: size)
        if !begun.isEmpty { endBlock() }
        digester.update(littleEndian(-1))
        digester.update(littleEndian(size))
        return ContentDigest(digester.finish())
    }

    /// Advances over zeros; blocks that are all zeros are not materialized.
    private mutating func skip(to offset: Int64) {
        if !begun.isEmpty {
            let rest = min(Int64(Self.blockSize - begun.count), offset - position)
            if rest <= 0 { return }
            begun += [UInt8](repeating: 0, count: Int(rest))
            position += rest
            if begun.count < Self.blockSize { return }
            endBlock()
        }
        guard offset > position else { return }
        begun = [UInt8](repeating: 0, count: Int(offset % Int64(Self.blockSize)))
        position = offset
    }

    private mutating func endBlock() {
        let block = begun
        begun = []
        block.withRawSpan { add($0, at: position - Int64(block.count)) }
    }

    private mutating func add(_ block: RawSpan, at start: Int64) {
        if block.isZero(0..<block.byteCount) { return }
        digester.update(littleEndian(start))
        digester.update(block)
    }

    private func littleEndian(_ number: Int64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }
}
