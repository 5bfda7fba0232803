/// What the PAX records of GNU tar say about a sparse file (GNU tar manual, "Storing Sparse Files"): 0.0 has a
/// record for each number of the map, 0.1 one for the whole map, 1.0 has it before the data.
///
/// libarchive's memory for them outlives the entry, so that half a set of records means what an earlier entry
/// has made of it: only whole sets are taken.
struct SparseRecords {
    typealias Reason = ArchiveFailure.Reason

    enum Form {
        case mapped(SparseMap, size: Int64)
        /// 1.0.
        case mapInBody(size: Int64)
    }

    /// Goes before the header's name and PAX's: those are made up for readers who do not know of holes.
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
            guard blocks == nil, map.count == 0 else { throw Self.notWhole }
            blocks = try Self.number(value)
        case "offset":
            guard blocks != nil, pieceOffset == nil else { throw Self.notWhole }
            pieceOffset = try Self.number(value)
        case "numbytes":
            guard let offset = pieceOffset, !hasMapText else { throw Self.notWhole }
            pieceOffset = nil
            try map.add(offset: offset, length: try Self.number(value))
        case "map":
            guard map.count == 0 else { throw Self.notWhole }
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
        if offset != nil { throw Self.notWhole }
    }

    /// - Returns: nil if there are none.
    func form() throws(Reason) -> Form? {
        if isEmpty { return nil }
        guard let size, pieceOffset == nil else { throw Self.notWhole }
        if major != nil || minor != nil {
            guard major == 1, minor == 0, map.count == 0, blocks == nil else {
                throw .malformed("a sparse map of an unknown version")
            }
            return .mapInBody(size: size)
        }
        guard map.count > 0, blocks == nil || blocks == Int64(map.count) else { throw Self.notWhole }
        return .mapped(map, size: size)
    }

    private static let notWhole = Reason.malformed("a sparse map that is not whole")

    private static func number(_ value: ArraySlice<UInt8>) throws(Reason) -> Int64 {
        guard let number = try ExtendedHeader.number(value, "number in a sparse map"), number >= 0 else {
            throw notWhole
        }
        return number
    }
}
