internal import CISAL

/// Parser for the header of a gzip member, byte by byte (RFC 1952, section 2.3).
///
/// ISA-L's own parser is not used: it ignores reserved flags, and loses all flags when a header is split between two
/// inputs.
struct GzipHeader {
    private enum Field { case fixed, extraLength, extra, name, comment, checksum, end }

    private static let fixedLength = 10
    private static let reservedFlags: UInt8 = 0xE0

    private var field = Field.fixed
    /// Number of bytes of the current field so far.
    private var position = 0
    private var flags: UInt8 = 0
    /// Length of the extra field in bytes.
    private var extraLength = 0
    /// CRC-32 of the header so far. Its lower half is the header's CRC-16.
    private var sum: UInt32 = 0
    /// CRC-16 field of the header.
    private var stated: UInt32 = 0

    var isComplete: Bool { field == .end }

    /// The reason why a header is invalid.
    struct Failure: Error {
        let reason: String
    }

    mutating func take(_ byte: UInt8) throws(Failure) {
        if field != .checksum { sum = withUnsafePointer(to: byte) { crc32_gzip_refl(sum, $0, 1) } }
        position += 1
        switch field {
        case .fixed: try takeFixed(byte)
        case .extraLength:
            extraLength |= Int(byte) << (8 * (position - 1))
            if position == 2 { begin(extraLength > 0 ? .extra : .name) }
        case .extra: if position == extraLength { begin(.name) }
        case .name: if byte == 0 { begin(.comment) }
        case .comment: if byte == 0 { begin(.checksum) }
        case .checksum:
            stated |= UInt32(byte) << (8 * UInt32(position - 1))
            guard position == 2 else { return }
            guard stated == sum & 0xFFFF else { throw Failure(reason: "wrong CRC of a gzip header") }
            begin(.end)
        case .end: break
        }
    }

    private mutating func takeFixed(_ byte: UInt8) throws(Failure) {
        switch position {
        case 1 where byte != 0x1F, 2 where byte != 0x8B: throw Failure(reason: "invalid gzip header")
        case 3 where byte != 8: throw Failure(reason: "unsupported compression method")
        case 4:
            flags = byte
            guard flags & Self.reservedFlags == 0 else {
                throw Failure(reason: "reserved flags in a gzip header")
            }
        case Self.fixedLength: begin(.extraLength)
        default: break
        }
    }

    /// Continues with a field, or with the first later field that is present according to the flags.
    private mutating func begin(_ next: Field) {
        position = 0
        let isPresent =
            switch next {
            case .extraLength: flags & 0x04 != 0
            case .name: flags & 0x08 != 0
            case .comment: flags & 0x10 != 0
            case .checksum: flags & 0x02 != 0
            case .fixed, .extra, .end: true
            }
        field = next
        if isPresent { return }
        switch next {
        case .extraLength: begin(.name)
        case .name: begin(.comment)
        case .comment: begin(.checksum)
        default: field = .end
        }
    }
}
