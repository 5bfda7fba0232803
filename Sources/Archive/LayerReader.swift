internal import CArchive
internal import Glibc
internal import Kernel
package import Streams

/// Reads a layer's tar from a ring, entry by entry, with libarchive and without its decompression filters.
///
/// Used from one thread. Call `finish` after the last entry: it reads the rest of the stream.
package struct LayerReader: ~Copyable {
    private let source: Source
    private var archive: OpaquePointer { source.archive }
    /// The header of the current entry.
    private var current: HeaderWalk.Header?
    /// Number of bytes of the current entry's data that were not read yet.
    private var remaining: Int64 = 0

    /// The source of libarchive's read callback. It owns the archive, which must not outlive it.
    private final class Source {
        let archive: OpaquePointer
        let ring: BlockRing
        let reader: Int
        var walk = HeaderWalk()
        var hasEnded = false
        /// The beginning of a header that is not complete yet.
        private var held = [UInt8]()
        /// Memory of the block that libarchive reads instead of the ring's, valid until the next read.
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

        /// Returns the next bytes for libarchive; nil if the walk rejects something in them, on which libarchive
        /// would only waste time and memory. Each header is passed whole, and headers that libarchive would misread
        /// are replaced.
        func next() -> UnsafeRawBufferPointer? {
            while !hasEnded {
                let start = walk.offset - Int64(held.count)
                guard let bytes = ring.next(reader: reader) else {
                    hasEnded = true
                    // libarchive reports a tar as damaged if it ends before its last block is full.
                    return walk.missingPadding > 0
                        ? copying([UInt8](repeating: 0, count: walk.missingPadding)) : nil
                }
                walk.feed(bytes)
                if walk.refusal != nil { return nil }
                let headers = walk.takeRewrittenHeaders()
                let undecided = walk.undecided
                // The usual case: the ring's blocks are aligned with those of the tar, and no header is replaced.
                if held.isEmpty, headers.isEmpty, undecided == 0 { return bytes }
                var piece = held + bytes
                held = Array(piece.suffix(undecided))
                piece.removeLast(undecided)
                for header in headers {
                    let position = Int(header.offset - start)
                    piece.replaceSubrange(position..<position + header.block.count, with: header.block)
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

        /// The reason why reading ends here: the error of the walk, or else the given reason or libarchive's message.
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

    /// - Parameter reader: number of this reader in the ring.
    package init(_ ring: BlockRing, reader: Int) throws(ArchiveFailure) {
        _ = Self.locale
        guard let archive = archive_read_new() else {
            throw ArchiveFailure(reason: .unreadable("no memory"), entry: nil, offset: 0)
        }
        let source = Source(archive, ring: ring, reader: reader)
        archive_read_support_format_tar(archive)
        archive_read_support_format_empty(archive)
        // NULL disables the option; any string, even "0", enables it (libarchive 3.6.2).
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
        // libarchive rejects the first header: the error of the walk is more exact.
        if result != ARCHIVE_OK { throw source.failure(at: source.walk.next()) }
        self.source = source
    }

    /// In the C locale, libarchive converts names and spends time on warnings.
    private static let locale: Bool = setlocale(LC_CTYPE, "C.UTF-8") != nil

    /// Returns the next entry; nil after the last one.
    package mutating func next() throws(ArchiveFailure) -> Entry? {
        var pointer: OpaquePointer?
        // libarchive takes an ENOMEM that is left from before for the reason why a name is not UTF-8, and gives up.
        errno = 0
        let result = archive_read_next_header(archive, &pointer)
        let header = source.walk.next()
        current = header
        if result == ARCHIVE_EOF {
            // The walk still has entries that libarchive skipped silently.
            if header != nil { throw source.failure(at: header, "it ends before this entry") }
            return nil
        }
        // EILSEQ is a warning about a name that is not UTF-8: names are bytes here.
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

    /// Offset in the tar of the current entry's data if it is stored in one piece; nil for a sparse file, whose data is
    /// stored without its holes.
    package var dataOffset: Int64? {
        guard let current, current.isPlain else { return nil }
        return current.end
    }

    /// Adds the attributes in `LIBARCHIVE.xattr.*` and `RHT.security.selinux` records, which libarchive decodes; it
    /// lists the last record first.
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

    /// Lends the next piece of the current entry's data with its offset in the file. Gaps between pieces are holes.
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

    /// Reads the first bytes of the current entry's file, with holes as zeros.
    ///
    /// - Parameter count: number of bytes, at most the file's size.
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

    /// Reads the stream to its end: data after the end of the archive belongs to the layer's digest.
    ///
    /// - Throws: `ArchiveFailure` if the walk rejects something, or if the stream ended inside an entry or was
    ///   cancelled.
    package consuming func finish() throws(ArchiveFailure) {
        while source.next() != nil {}
        if source.walk.refusal != nil || source.ring.wasCancelled { throw source.failure(at: nil) }
        if let missed = source.walk.next() { throw source.failure(at: missed, "it ends before this entry") }
        if let truncation = source.walk.truncation { throw truncation }
    }
}
