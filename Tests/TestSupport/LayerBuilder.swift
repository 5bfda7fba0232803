package import OCI

/// Builds a layer from entries, one line per entry.
package struct LayerBuilder: Sendable {
    /// How the tar ends.
    package enum End: Sendable {
        case twoZeroBlocks, oneZeroBlock, nothing
    }

    package var entries: [TarEntry]
    package var end: End
    /// Bytes after the end of the archive.
    package var trailer: [UInt8]

    package init(_ entries: TarEntry..., end: End = .twoZeroBlocks) { self.init(entries, end: end) }

    package init(_ entries: [TarEntry], end: End = .twoZeroBlocks, trailer: [UInt8] = []) {
        self.entries = entries
        self.end = end
        self.trailer = trailer
    }

    package var tar: [UInt8] {
        let zeroBlocks = end == .twoZeroBlocks ? 2 : end == .oneZeroBlock ? 1 : 0
        return entries.flatMap(\.encoded) + [UInt8](repeating: 0, count: 512 * zeroBlocks) + trailer
    }

    package var diffID: DiffID { diffID(.sha256) }

    package func diffID(_ algorithm: Digest.Algorithm) -> DiffID { DiffID(Digest(algorithm, of: tar)) }
}

/// Compression of a layer blob. The data is only stored, so that no tool is needed.
package enum Packing: String, CaseIterable, Sendable {
    case none = "", gzip = "+gzip", zstd = "+zstd"

    package func pack(_ bytes: [UInt8]) -> [UInt8] {
        switch self {
        case .none: bytes
        case .gzip: storedGzip(bytes)
        case .zstd: storedZstd(bytes)
        }
    }

    package var mediaType: MediaType {
        MediaType(rawValue: "application/vnd.oci.image.layer.v1.tar" + rawValue)
    }
}

/// One gzip member of stored blocks (RFC 1952; RFC 1951, section 3.2.4).
package func storedGzip(_ bytes: [UInt8]) -> [UInt8] {
    var out: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255]
    var rest = bytes[...]
    repeat {
        let piece = rest.prefix(0xFFFF)
        rest = rest.dropFirst(piece.count)
        let length = UInt16(piece.count)
        out.append(rest.isEmpty ? 1 : 0)
        out += littleEndian(length)
        out += littleEndian(~length)
        out += piece
    } while !rest.isEmpty
    return out + littleEndian(checksum(of: bytes)) + littleEndian(UInt32(truncatingIfNeeded: bytes.count))
}

/// One zstd frame of raw blocks (RFC 8878, section 3.1.1), with a window of 1 MiB.
package func storedZstd(_ bytes: [UInt8]) -> [UInt8] {
    var out: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0, 0x50]
    var rest = bytes[...]
    repeat {
        let piece = rest.prefix(0x1FFFF)
        rest = rest.dropFirst(piece.count)
        let header = UInt32(piece.count) << 3 | (rest.isEmpty ? 1 : 0)
        out += littleEndian(header).prefix(3)
        out += piece
    } while !rest.isEmpty
    return out
}

package func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian, Array.init)
}

/// CRC-32 (RFC 1952, section 8).
private func checksum(of bytes: [UInt8]) -> UInt32 {
    var sum = ~UInt32(0)
    for byte in bytes { sum = sum >> 8 ^ checksumTable[Int(UInt8(truncatingIfNeeded: sum) ^ byte)] }
    return ~sum
}

private let checksumTable: [UInt32] = (0..<256).map { index in
    var value = UInt32(index)
    for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    return value
}
