/// The map of a sparse file: the ranges that contain data. libarchive parses and keeps the map; this type only
/// validates it, because libarchive silently accepts maps that need too much memory or do not fit the file.
struct SparseMap {
    /// Maximum number of pieces. libarchive keeps 100 bytes for each. Go's reader accepts 1 MiB of map, which has
    /// about as many pieces.
    static let mostPieces = 65_536

    /// Total size of the pieces in bytes.
    private(set) var data: Int64 = 0
    private(set) var count = 0
    private var end: Int64 = 0

    mutating func add(offset: Int64, length: Int64) throws(ArchiveFailure.Reason) {
        count += 1
        guard count <= Self.mostPieces else {
            throw .malformed("a sparse map of more than \(Self.mostPieces) pieces")
        }
        let (end, overflow) = offset.addingReportingOverflow(length)
        guard offset >= self.end, length >= 0, !overflow else {
            throw .malformed("a sparse map whose pieces are not in order")
        }
        self.end = end
        data += length
    }

    /// Adds pieces of GNU's old format, 24 bytes each, up to the first empty one.
    mutating func add(pieces: ArraySlice<UInt8>) throws(ArchiveFailure.Reason) {
        var rest = pieces
        while let first = rest.first, first != 0 {
            guard let offset = RawHeader.number(rest.prefix(12)),
                let length = RawHeader.number(rest.dropFirst(12).prefix(12))
            else { throw .malformed("an unreadable number in the sparse map") }
            try add(offset: offset, length: length)
            rest = rest.dropFirst(24)
        }
    }

    /// - Throws: `.malformed` unless the pieces lie within `size` bytes and their total size is `stored` bytes.
    func check(size: Int64, stored: Int64) throws(ArchiveFailure.Reason) {
        guard end <= size else { throw .malformed("a sparse map beyond the file's \(size) bytes") }
        guard data == stored else {
            throw .malformed("a sparse map of \(data) bytes for \(stored) bytes of data")
        }
    }
}

/// Parser for the map that GNU's format 1.0 stores before the data: the number of pieces, then offset and length of
/// each, one number per line.
struct SparseText {
    private(set) var map = SparseMap()
    private(set) var byteCount: Int64 = 0
    private var number: Int64?
    private var piecesLeft: Int?
    private var pieceOffset: Int64?

    var isComplete: Bool { piecesLeft == 0 }

    mutating func take(_ byte: UInt8) throws(ArchiveFailure.Reason) {
        byteCount += 1
        if byte == UInt8(ascii: "\n"), let line = number {
            number = nil
            return try take(line: line)
        }
        let (shifted, overflow) = (number ?? 0).multipliedReportingOverflow(by: 10)
        guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte), !overflow, byteCount <= Self.largest
        else { throw .malformed("an unreadable number in the sparse map") }
        let (sum, tooLarge) = shifted.addingReportingOverflow(Int64(byte - UInt8(ascii: "0")))
        guard !tooLarge else { throw .malformed("an unreadable number in the sparse map") }
        number = sum
    }

    /// Maximum size of the map in bytes: two numbers of up to 19 digits and their newlines for each piece.
    private static let largest = Int64(SparseMap.mostPieces) * 2 * 20

    private mutating func take(line: Int64) throws(ArchiveFailure.Reason) {
        if let left = piecesLeft {
            if let offset = pieceOffset {
                pieceOffset = nil
                piecesLeft = left - 1
                try map.add(offset: offset, length: line)
            } else {
                pieceOffset = line
            }
        } else {
            guard line <= SparseMap.mostPieces else {
                throw .malformed("a sparse map of more than \(SparseMap.mostPieces) pieces")
            }
            piecesLeft = Int(line)
        }
    }
}
