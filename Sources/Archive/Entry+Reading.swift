internal import CArchive
internal import Glibc
internal import Kernel

extension Entry {
    /// Copies libarchive's entry, holding it against the raw header.
    init(_ entry: OpaquePointer, _ header: HeaderWalk.Header) throws(ArchiveFailure) {
        guard let rawPath = bytes(archive_entry_pathname(entry)) else {
            throw .unusableName(name: "", reason: "it has no name")
        }
        path = try EntryPath(rawPath)
        offset = header.offset
        content = try Self.content(of: entry, header, path)
        metadata = try Self.metadata(of: entry, header, path)
    }

    private static func content(
        of entry: OpaquePointer, _ header: HeaderWalk.Header, _ path: EntryPath
    ) throws(ArchiveFailure) -> Content {
        let type = archive_entry_filetype(entry)
        switch header.type {
        // A hard link may come without a file type: the header decides.
        case UInt8(ascii: "1"):
            guard let target = bytes(archive_entry_hardlink(entry)) else { break }
            return .hardLink(try EntryPath(target))
        case UInt8(ascii: "2"):
            guard let target = bytes(archive_entry_symlink(entry)), !target.isEmpty else {
                throw .unusableName(name: path.description, reason: "a symlink without a target")
            }
            return .symlink(target)
        case UInt8(ascii: "3"): return .character(try device(of: entry, path))
        case UInt8(ascii: "4"): return .block(try device(of: entry, path))
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "6"): return .fifo
        // Before POSIX a directory was a file whose name ends in a slash.
        case _ where type == Glibc.S_IFDIR:
            guard header.size == 0 else {
                throw .malformed(reason: "a directory comes with \(header.size) bytes", offset: header.offset)
            }
            return .directory
        case _ where type == Glibc.S_IFREG: return .regular(size: archive_entry_size(entry))
        default: break
        }
        throw .unreadable(reason: "libarchive reads its type differently", entry: path.description)
    }

    private static func device(of entry: OpaquePointer, _ path: EntryPath) throws(ArchiveFailure)
        -> DeviceNumber
    {
        let major = UInt64(archive_entry_rdevmajor(entry))
        let minor = UInt64(archive_entry_rdevminor(entry))
        guard major <= UInt64(DeviceNumber.maximumMajor) else {
            throw .outOfRange(entry: path.description, what: "device major", value: Int64(clamping: major))
        }
        guard minor <= UInt64(DeviceNumber.maximumMinor) else {
            throw .outOfRange(entry: path.description, what: "device minor", value: Int64(clamping: minor))
        }
        return DeviceNumber(major: UInt32(major), minor: UInt32(minor))
    }

    private static func metadata(
        of entry: OpaquePointer, _ header: HeaderWalk.Header, _ path: EntryPath
    ) throws(ArchiveFailure) -> Metadata {
        func owner(_ what: String, _ value: Int64) throws(ArchiveFailure) -> UInt32 {
            // 2^32 - 1 means "leave it" to chown(2).
            guard (0..<Int64(UInt32.max)).contains(value) else {
                throw .outOfRange(entry: path.description, what: what, value: value)
            }
            return UInt32(value)
        }
        func time(_ seconds: Int, _ nanoseconds: Int) -> Timestamp {
            Timestamp(seconds: Int64(seconds), nanoseconds: UInt32(clamping: nanoseconds))
        }
        let modification =
            header.extended.modificationTime
            ?? time(archive_entry_mtime(entry), archive_entry_mtime_nsec(entry))
        let access =
            header.extended.accessTime
            ?? (archive_entry_atime_is_set(entry) != 0
                ? time(archive_entry_atime(entry), archive_entry_atime_nsec(entry)) : nil)
        return Metadata(
            uid: try owner("owner", archive_entry_uid(entry)),
            gid: try owner("group", archive_entry_gid(entry)),
            mode: header.mode, modificationTime: modification, accessTime: access,
            extendedAttributes: try extendedAttributes(of: entry, header, path))
    }

    private static func extendedAttributes(
        of entry: OpaquePointer, _ header: HeaderWalk.Header, _ path: EntryPath
    ) throws(ArchiveFailure) -> [ExtendedAttribute] {
        var values = [AttributeName: [UInt8]]()
        archive_entry_xattr_reset(entry)
        var cName: UnsafePointer<CChar>?
        var value: UnsafeRawPointer?
        var size = 0
        while archive_entry_xattr_next(entry, &cName, &value, &size) == ARCHIVE_OK {
            guard let raw = bytes(cName), let attribute = AttributeName(raw) else {
                throw .unreadable(
                    reason: "an extended attribute without a usable name", entry: path.description)
            }
            values[attribute] = Array(UnsafeRawBufferPointer(start: value, count: size))
        }
        values.merge(header.extended.extendedAttributes) { $1 }
        for list in AccessControlList.attributes(of: entry) { values[list.name] = list.value }
        return values.map { ExtendedAttribute(name: $0.key, value: $0.value) }.sorted { $0.name < $1.name }
    }
}

private func bytes(_ text: UnsafePointer<CChar>?) -> [UInt8]? {
    text.map { Array(UnsafeRawBufferPointer(start: $0, count: strlen($0))) }
}
