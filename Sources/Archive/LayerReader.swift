internal import CArchive
internal import Glibc
internal import Kernel
package import Streams

/// Reads a layer's tar from a ring, entry by entry, through libarchive without any of its filters.
///
/// Used from one thread. `finish` after the last entry: until then the stream has not been seen whole.
package struct LayerReader: ~Copyable {
    private let source: Source
    private var archive: OpaquePointer { source.archive }
    /// The entry that was handed out last, and how much of its data has not been.
    private var current: HeaderWalk.Header?
    private var remaining: Int64 = 0

    /// What libarchive's callback reads from. Owns the archive, which must not outlive it.
    private final class Source {
        let archive: OpaquePointer
        let ring: BlockRing
        let reader: Int
        var walk = HeaderWalk()
        var hasEnded = false

        init(_ archive: OpaquePointer, ring: BlockRing, reader: Int) {
            self.archive = archive
            self.ring = ring
            self.reader = reader
        }

        deinit { archive_read_free(archive) }

        /// The next block, unless the walk refuses what stands in it: libarchive would only waste time and memory
        /// on it.
        func next() -> UnsafeRawBufferPointer? {
            guard let bytes = ring.next(reader: reader) else {
                hasEnded = true
                return nil
            }
            walk.feed(bytes)
            return walk.refusal == nil ? bytes : nil
        }

        /// Why the reading ends here: what the walk says of it, else libarchive's words, or ours about libarchive.
        func failure(at header: HeaderWalk.Header?, _ words: String? = nil) -> ArchiveFailure {
            let offset = header?.entry.offset ?? walk.offset
            let entry = header?.entry.path.description
            if ring.wasCancelled { return ArchiveFailure(reason: .cancelled, entry: entry, offset: offset) }
            if let refusal = walk.refusal { return refusal }
            if hasEnded, let truncation = walk.truncation { return truncation }
            let reason = words ?? archive_error_string(archive).map { String(cString: $0) } ?? "unknown error"
            return ArchiveFailure(reason: .unreadable(reason), entry: entry, offset: offset)
        }
    }

    /// - Parameter reader: which of the ring's readers this is.
    package init(_ ring: BlockRing, reader: Int) throws(ArchiveFailure) {
        _ = Self.locale
        guard let archive = archive_read_new() else {
            throw ArchiveFailure(reason: .unreadable("no memory"), entry: nil, offset: 0)
        }
        let source = Source(archive, ring: ring, reader: reader)
        archive_read_support_format_tar(archive)
        archive_read_support_format_empty(archive)
        // NULL turns it off; any text, "0" too, turns it on (libarchive 3.6.2).
        archive_read_set_format_option(archive, "tar", "mac-ext", nil)
        let result = archive_read_open(
            archive, Unmanaged.passUnretained(source).toOpaque(), nil,
            { archive, context, block in
                guard let context else { return -1 }
                let source = Unmanaged<Source>.fromOpaque(context).takeUnretainedValue()
                guard let bytes = source.next() else {
                    return source.walk.refusal != nil || source.ring.wasCancelled ? -1 : 0
                }
                block?.pointee = bytes.baseAddress
                return bytes.count
            }, nil)
        // A first header that libarchive does not recognise: the walk says what is wrong with it.
        if result != ARCHIVE_OK { throw source.failure(at: source.walk.next()) }
        self.source = source
    }

    /// libarchive converts names in the C locale otherwise, and wastes time on complaints.
    private static let locale: Bool = setlocale(LC_CTYPE, "C.UTF-8") != nil

    /// The next entry; nil behind the last one.
    package mutating func next() throws(ArchiveFailure) -> Entry? {
        var pointer: OpaquePointer?
        let result = archive_read_next_header(archive, &pointer)
        let header = source.walk.next()
        current = header
        if result == ARCHIVE_EOF {
            // What libarchive passed over in silence is still in the walk.
            if header != nil { throw source.failure(at: header, "it ends before this entry") }
            return nil
        }
        // EILSEQ is a remark on a name that is not UTF-8: names are bytes here.
        guard let pointer, result == ARCHIVE_OK || result == ARCHIVE_WARN && archive_errno(archive) == EILSEQ
        else { throw source.failure(at: header) }
        guard let header else { throw source.failure(at: nil, "it reads an entry where there is no header") }
        let start = archive_read_header_position(archive)
        guard start == header.start else {
            throw source.failure(at: header, "it reads the entry at byte \(start)")
        }
        remaining = header.data
        return try addingAttributes(of: pointer, to: header)
    }

    /// `LIBARCHIVE.xattr.*` and `RHT.security.selinux` are decoded by libarchive; it lists the last record first.
    private func addingAttributes(
        of entry: OpaquePointer, to header: HeaderWalk.Header
    ) throws(ArchiveFailure) -> Entry {
        if archive_entry_xattr_reset(entry) == 0 { return header.entry }
        var values = [AttributeName: [UInt8]]()
        var name: UnsafePointer<CChar>?
        var value: UnsafeRawPointer?
        var size = 0
        while archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK {
            guard let name,
                let attribute = AttributeName(UnsafeRawBufferPointer(start: name, count: strlen(name)))
            else { throw source.failure(at: header, "an extended attribute without a usable name") }
            if values[attribute] != nil { continue }
            values[attribute] = Array(UnsafeRawBufferPointer(start: value, count: size))
        }
        return header.entry.adding(values)
    }

    /// The next piece of the current entry's data with its offset in the file; nil behind the last. Between
    /// pieces are holes.
    ///
    /// - Returns: false at the end of the data.
    package mutating func nextData<Failure: Error>(
        _ body: (_ offset: Int64, RawSpan) throws(Failure) -> Void
    ) throws -> Bool {
        var pointer: UnsafeRawPointer?
        var size = 0
        var offset: Int64 = 0
        let result = archive_read_data_block(archive, &pointer, &size, &offset)
        if result == ARCHIVE_EOF {
            guard remaining == 0 else {
                throw source.failure(at: current, "\(remaining) bytes of data are missing")
            }
            return false
        }
        guard result == ARCHIVE_OK else { throw source.failure(at: current) }
        remaining -= Int64(size)
        try body(offset, UnsafeRawBufferPointer(start: pointer, count: size).bytes)
        return true
    }

    /// Reads what lies behind the end of the archive: it belongs to the layer's digest.
    ///
    /// - Throws: if the walk refuses something, or the stream ended inside an entry or was cancelled.
    package consuming func finish() throws(ArchiveFailure) {
        while source.next() != nil {}
        if source.walk.refusal != nil || source.ring.wasCancelled { throw source.failure(at: nil) }
        if let missed = source.walk.next() { throw source.failure(at: missed, "it ends before this entry") }
        if let truncation = source.walk.truncation { throw truncation }
    }
}
