/// The headers that stand before an entry's own and concern it. Readers disagree on which of two of a kind wins,
/// and on whether a GNU or a PAX name does: such entries are refused.
struct HeaderGroup {
    typealias Reason = ArchiveFailure.Reason

    /// libarchive gives up at more, global ones included.
    private static let most = 31

    /// Where the first of them stands, which is where libarchive says that the entry begins.
    private(set) var start: Int64?
    private var count = 0
    private(set) var records: ExtendedHeader?
    private var longName: [UInt8]?
    private var longLinkName: [UInt8]?

    /// Whether one stands here that needs an entry behind it; a global one does not.
    var needsEntry: Bool { records != nil || longName != nil || longLinkName != nil }

    mutating func begin(at offset: Int64) {
        if start == nil { start = offset }
    }

    /// Counts an extended header whose body comes next.
    mutating func announce() throws(Reason) {
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
        // A global header concerns no entry here.
        default: break
        }
    }

    /// Of two names Python takes the first, and the other readers the last.
    private static func set(_ name: inout [UInt8]?, to body: [UInt8], _ what: String) throws(Reason) {
        // Go takes the header's own name then.
        if body.isEmpty { throw .malformed("an empty \(what)") }
        let new = Array(body.prefix { $0 != 0 })
        guard name == nil || name == new else { throw .malformed("a second \(what) for one entry") }
        name = new
    }

    /// Whether the entry's name is its header's own.
    var isEmpty: Bool { !needsEntry }

    func name(of header: RawHeader) -> [UInt8] {
        records?.sparse.name ?? records?.path ?? longName ?? header.name
    }

    func linkName(of header: RawHeader) -> [UInt8] { records?.linkPath ?? longLinkName ?? header.linkName }

    /// - Throws: if an entry has its name both from GNU's headers and from PAX records.
    func checkNames() throws(Reason) {
        if longName != nil, records?.path != nil || records?.sparse.name != nil {
            throw .malformed("a GNU and a PAX name for one entry")
        }
        if longLinkName != nil, records?.linkPath != nil {
            throw .malformed("a GNU and a PAX link name for one entry")
        }
    }
}
