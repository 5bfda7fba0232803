/// The PAX records of GNU tar for a sparse file (GNU tar manual, "Storing Sparse Files"): format 0.0 has a record for
/// each number of the map, 0.1 has one for the whole map, and 1.0 stores the map before the data.
///
/// libarchive keeps these records beyond the entry, so that an incomplete set of records would be completed from an
/// earlier entry: only complete sets are accepted.
struct SparseRecords {
    typealias Reason = ArchiveFailure.Reason

    enum Form {
        case mapped(SparseMap, size: Int64)
        /// Format 1.0: the map is in the body.
        case mapInBody(size: Int64)
    }

    /// The file's name. It takes precedence over the names in the header block and in PAX records, which are
    /// placeholders for readers without support for sparse files.
    private(set) var name: [UInt8]?
    private var isEmpty = true
    private var major: Int64?
    private var minor: Int64?
    private var size: Int64?
    private var blocks: Int64?
    private var map = SparseMap()
    private var pieceOffset: Int64?
    private var hasMapText = false

    mutating func take(_ key: Substring, _ value: ArraySlice<UInt8>) throws(Reason) {
        isEmpty = false
        switch key {
        case "name": name = try ExtendedHeader.path(value)
        case "major": major = try Self.number(value)
        case "minor": minor = try Self.number(value)
        case "size", "realsize": size = try Self.number(value)
        case "numblocks":
            guard blocks == nil, map.count == 0 else { throw Self.incomplete }
            blocks = try Self.number(value)
        case "offset":
            guard blocks != nil, pieceOffset == nil else { throw Self.incomplete }
            pieceOffset = try Self.number(value)
        case "numbytes":
            guard let offset = pieceOffset, !hasMapText else { throw Self.incomplete }
            pieceOffset = nil
            try map.add(offset: offset, length: try Self.number(value))
        case "map":
            guard map.count == 0 else { throw Self.incomplete }
            hasMapText = true
            try takeMap(value)
        default: break
        }
    }

    private mutating func takeMap(_ text: ArraySlice<UInt8>) throws(Reason) {
        var offset: Int64?
        for field in text.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
            let number = try Self.number(field)
            if let start = offset {
                try map.add(offset: start, length: number)
                offset = nil
            } else {
                offset = number
            }
        }
        if offset != nil { throw Self.incomplete }
    }

    /// - Returns: nil if the entry has no such records.
    func form() throws(Reason) -> Form? {
        if isEmpty { return nil }
        guard let size, pieceOffset == nil else { throw Self.incomplete }
        if major != nil || minor != nil {
            guard major == 1, minor == 0, map.count == 0, blocks == nil else {
                throw .malformed("a sparse map of an unknown version")
            }
            return .mapInBody(size: size)
        }
        guard map.count > 0, blocks == nil || blocks == Int64(map.count) else { throw Self.incomplete }
        return .mapped(map, size: size)
    }

    private static let incomplete = Reason.malformed("an incomplete sparse map")

    private static func number(_ value: ArraySlice<UInt8>) throws(Reason) -> Int64 {
        guard let number = try ExtendedHeader.number(value, "number in a sparse map"), number >= 0 else {
            throw incomplete
        }
        return number
    }
}
