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

    /// What libarchive's callback reads from. Owns the archive, which must not outlive it.
    private final class Source {
        let archive: OpaquePointer
        let ring: BlockRing
        let reader: Int
        var walk = HeaderWalk()

        init(_ archive: OpaquePointer, ring: BlockRing, reader: Int) {
            self.archive = archive
            self.ring = ring
            self.reader = reader
        }

        deinit { archive_read_free(archive) }
    }

    /// - Parameter reader: which of the ring's readers this is.
    package init(_ ring: BlockRing, reader: Int) throws(ArchiveFailure) {
        _ = Self.locale
        guard let archive = archive_read_new() else {
            throw .unreadable(reason: "libarchive has no memory", entry: nil)
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
                guard let bytes = source.ring.next(reader: source.reader) else {
                    return source.ring.wasCancelled ? -1 : 0
                }
                source.walk.feed(bytes)
                block?.pointee = bytes.baseAddress
                return bytes.count
            }, nil)
        if result != ARCHIVE_OK {
            // A first header that libarchive does not recognise: the walk says what is wrong with it.
            _ = try source.walk.next()
            throw Self.failure(source, entry: nil)
        }
        self.source = source
    }

    /// libarchive converts names in the C locale otherwise, and gives NULL for what it cannot convert.
    private static let locale: Bool = setlocale(LC_CTYPE, "C.UTF-8") != nil

    /// The next entry; nil behind the last one.
    package mutating func next() throws(ArchiveFailure) -> Entry? {
        var pointer: OpaquePointer?
        let result = archive_read_next_header(archive, &pointer)
        if result == ARCHIVE_EOF {
            // What libarchive passed over in silence is still in the walk.
            if let missed = try source.walk.next() {
                throw .malformed(reason: "an entry that cannot be read", offset: missed.offset)
            }
            return nil
        }
        guard let pointer, result >= ARCHIVE_WARN, result != ARCHIVE_RETRY else {
            // The walk says more exactly what is wrong, if it stumbled too.
            _ = try source.walk.next()
            throw Self.failure(source, entry: nil)
        }
        func name() -> String? {
            archive_entry_pathname(pointer).map {
                escaped(UnsafeRawBufferPointer(start: $0, count: strlen($0)))
            }
        }
        // EILSEQ is a remark on a name that is not UTF-8: names are bytes here.
        if result == ARCHIVE_WARN, archive_errno(archive) != EILSEQ {
            throw Self.failure(source, entry: name())
        }
        guard let header = try source.walk.next() else {
            throw .unreadable(reason: "libarchive reads an entry where there is no header", entry: name())
        }
        let start = archive_read_header_position(archive)
        guard start == header.start else {
            throw .malformed(
                reason: "libarchive reads an entry elsewhere, at byte \(start)", offset: header.start)
        }
        return try Entry(pointer, header)
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
        if result == ARCHIVE_EOF { return false }
        guard result == ARCHIVE_OK else { throw Self.failure(source, entry: nil) }
        try body(offset, UnsafeRawBufferPointer(start: pointer, count: size).bytes)
        return true
    }

    /// Reads what lies behind the end of the archive: it belongs to the layer's digest.
    ///
    /// - Throws: `.truncated` if the stream ended inside an entry, `.cancelled` if it was cancelled.
    package consuming func finish() throws(ArchiveFailure) {
        while let block = source.ring.next(reader: source.reader) { source.walk.feed(block) }
        if source.ring.wasCancelled { throw .cancelled }
        if try source.walk.next() != nil {
            throw .unreadable(reason: "libarchive stopped before the last entry", entry: nil)
        }
        try source.walk.finish()
    }

    private static func failure(_ source: Source, entry: String?) -> ArchiveFailure {
        if source.ring.wasCancelled { return .cancelled }
        let reason = archive_error_string(source.archive).map { String(cString: $0) } ?? "unknown error"
        if reason.hasPrefix("Truncated") {
            return .unreadable(reason: "the tar ends too early", entry: entry)
        }
        return .unreadable(reason: "libarchive: \(reason)", entry: entry)
    }
}
