/// The extended headers before an entry's own header. Readers disagree on which of two headers of a kind counts, and
/// on whether a GNU or a PAX name does, so such entries are rejected.
struct HeaderGroup {
    typealias Reason = ArchiveFailure.Reason

    /// Maximum number of extended headers in a row in libarchive, including global ones.
    private static let most = 31

    /// Offset of the first header, where libarchive reports the start of the entry.
    private(set) var start: Int64?
    private var count = 0
    private(set) var records: ExtendedHeader?
    private var longName: [UInt8]?
    private var longLinkName: [UInt8]?

    /// Whether a header was read that must be followed by an entry; a global header need not be.
    var needsEntry: Bool { records != nil || longName != nil || longLinkName != nil }

    mutating func begin(at offset: Int64) {
        if start == nil { start = offset }
    }

    /// Counts an extended header, whose body follows.
    mutating func countHeader() throws(Reason) {
        count += 1
        guard count <= Self.most else { throw .malformed("more than \(Self.most) extended headers in a row") }
    }

    mutating func take(_ type: UInt8, _ body: [UInt8]) throws(Reason) {
        switch type {
        case UInt8(ascii: "x"):
            guard records == nil else { throw .malformed("a second PAX header for one entry") }
            records = try ExtendedHeader(body)
        case UInt8(ascii: "L"): try Self.set(&longName, to: body, "long name")
        case UInt8(ascii: "K"): try Self.set(&longLinkName, to: body, "long link name")
        // Global headers are ignored.
        default: break
        }
    }

    /// With two names, Python uses the first and the other readers the last.
    private static func set(_ name: inout [UInt8]?, to body: [UInt8], _ what: String) throws(Reason) {
        // With an empty name, Go uses the name in the header block.
        if body.isEmpty { throw .malformed("an empty \(what)") }
        let new = Array(body.prefix { $0 != 0 })
        guard name == nil || name == new else { throw .malformed("a second \(what) for one entry") }
        name = new
    }

    /// Whether no extended header applies to the entry.
    var isEmpty: Bool { !needsEntry }

    func name(of header: RawHeader) -> [UInt8] {
        records?.sparse.name ?? records?.path ?? longName ?? header.name
    }

    func linkName(of header: RawHeader) -> [UInt8] { records?.linkPath ?? longLinkName ?? header.linkName }

    /// - Throws: `.malformed` if an entry has a name both in GNU headers and in PAX records.
    func checkNames() throws(Reason) {
        if longName != nil, records?.path != nil || records?.sparse.name != nil {
            throw .malformed("a GNU and a PAX name for one entry")
        }
        if longLinkName != nil, records?.linkPath != nil {
            throw .malformed("a GNU and a PAX link name for one entry")
        }
    }
}
