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
        /// Bytes that the walk has not decided about: the beginning of a header.
        private var held = [UInt8]()
        /// What libarchive gets instead of the ring's bytes, until it asks for more.
        private var copy = UnsafeMutableRawBufferPointer(start: nil, count: 0)

        init(_ archive: OpaquePointer, ring: BlockRing, reader: Int) {
            self.archive = archive
            self.ring = ring
            self.reader = reader
        }

        deinit {
            archive_read_free(archive)
            copy.deallocate()
        }

        /// The next bytes for libarchive, unless the walk refuses what stands in them: libarchive would only waste time and
        /// memory on it. Each header comes whole, without what libarchive would misread.
        func next() -> UnsafeRawBufferPointer? {
            while !hasEnded {
                let start = walk.offset - Int64(held.count)
                guard let bytes = ring.next(reader: reader) else {
                    hasEnded = true
                    // libarchive takes a tar for damaged that ends before its last block is full.
                    return walk.missingPadding > 0
                        ? copying([UInt8](repeating: 0, count: walk.missingPadding)) : nil
                }
                walk.feed(bytes)
                if walk.refusal != nil { return nil }
                let headers = walk.takePlainHeaders()
                let undecided = walk.undecided
                // Almost always: blocks begin and end with those of the tar, and nothing is misread.
                if held.isEmpty, headers.isEmpty, undecided == 0 { return bytes }
                var piece = held + bytes
                held = Array(piece.suffix(undecided))
                piece.removeLast(undecided)
                for header in headers {
                    let place = Int(header.offset - start)
                    piece.replaceSubrange(place..<place + header.block.count, with: header.block)
                }
                if !piece.isEmpty { return copying(piece) }
            }
            return nil
        }

        private func copying(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
            copy.deallocate()
            copy = .allocate(byteCount: bytes.count, alignment: 1)
            copy.copyBytes(from: bytes)
            return UnsafeRawBufferPointer(copy)
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

    /// The first bytes of the current entry's file, holes as zeros.
    ///
    /// - Parameter count: no more than the file has.
    package mutating func contents(first count: Int64) throws -> [UInt8] {
        var contents = [UInt8](repeating: 0, count: Int(count))
        while try nextData({ (offset: Int64, bytes: RawSpan) in
            guard offset < count else { return }
            bytes.withUnsafeBytes { bytes in
                let piece = bytes.prefix(Int(count - offset))
                contents.replaceSubrange(Int(offset)..<Int(offset) + piece.count, with: piece)
            }
        }) {}
        return contents
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
