internal import Kernel

extension Entry {
    typealias Reason = ArchiveFailure.Reason

    /// Creates an entry from its headers. Extended attributes in libarchive's own records are not included.
    ///
    /// - Parameters:
    ///   - stored: size of the body in the archive, in bytes.
    ///   - size: size of a regular file in bytes, holes included.
    init(
        _ header: RawHeader, _ group: HeaderGroup, path: EntryPath, offset: Int64, stored: Int64, size: Int64
    ) throws(Reason) {
        self.path = path
        self.offset = offset
        content = try Self.content(header, group, path, stored: stored, size: size)
        metadata = try Self.metadata(header, group.records)
        unresolvedLists = (group.records?.accessControlLists ?? [:]).filter { $0.value.hasNames }
        dropResolvedLists()
    }

    /// Drops the lists that an extended attribute contains with ids.
    private mutating func dropResolvedLists() {
        if unresolvedLists.isEmpty { return }
        for attribute in metadata.extendedAttributes { unresolvedLists[attribute.name] = nil }
    }

    private static func content(
        _ header: RawHeader, _ group: HeaderGroup, _ path: EntryPath, stored: Int64, size: Int64
    ) throws(Reason) -> Content {
        switch header.type {
        case UInt8(ascii: "1"):
            let target = group.linkName(of: header)
            do {
                return .hardLink(try EntryPath(target))
            } catch {
                throw .invalidName("a hard link to '\(shown(target))': \(error)")
            }
        case UInt8(ascii: "2"):
            let target = group.linkName(of: header)
            guard !target.isEmpty else { throw .invalidName("a symlink without a target") }
            return .symlink(target)
        case UInt8(ascii: "3"): return .character(try device(header, group.records))
        case UInt8(ascii: "4"): return .block(try device(header, group.records))
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "6"): return .fifo
        default:
            // libarchive reads it as a directory without a body.
            guard !path.hadTrailingSlash || stored == 0 else {
                throw .malformed("a directory with a body of \(stored) bytes")
            }
            // Before POSIX, a file whose name ends in a slash was a directory (type NUL). Type 0 means a regular
            // file.
            return header.type == 0 && path.hadTrailingSlash ? .directory : .regular(size: size)
        }
    }

    private static func device(_ header: RawHeader, _ records: ExtendedHeader?) throws(Reason) -> DeviceNumber
    {
        guard let major = records?.deviceMajor ?? header.deviceMajor,
            let minor = records?.deviceMinor ?? header.deviceMinor
        else { throw .malformed("an unreadable device number") }
        guard (0...Int64(DeviceNumber.maximumMajor)).contains(major) else {
            throw .outOfRange("device major", major)
        }
        guard (0...Int64(DeviceNumber.maximumMinor)).contains(minor) else {
            throw .outOfRange("device minor", minor)
        }
        return DeviceNumber(major: UInt32(major), minor: UInt32(minor))
    }

    private static func metadata(_ header: RawHeader, _ records: ExtendedHeader?) throws(Reason) -> Metadata {
        guard let mode = header.mode, let uid = records?.uid ?? header.uid,
            let gid = records?.gid ?? header.gid,
            let seconds = header.modificationTime
        else { throw .malformed("an unreadable number in the header") }
        func time(_ seconds: Int64) -> Timestamp { Timestamp(seconds: seconds, nanoseconds: 0) }
        var attributes = records?.extendedAttributes ?? [:]
        // The kernel stores ACLs as extended attributes of these names.
        for (name, list) in records?.accessControlLists ?? [:] where !list.hasNames {
            attributes[name] = list.encoded
        }
        return Metadata(
            uid: try owner("owner", uid), gid: try owner("group", gid),
            mode: UInt32(truncatingIfNeeded: mode) & 0o7777,
            modificationTime: records?.modificationTime ?? time(seconds),
            accessTime: records?.accessTime ?? header.accessTime.map(time),
            extendedAttributes: sorted(attributes))
    }

    private static func owner(_ what: String, _ value: Int64) throws(Reason) -> UInt32 {
        // 2^32 - 1 means "unchanged" in chown(2).
        guard (0..<Int64(UInt32.max)).contains(value) else { throw .outOfRange(what, value) }
        return UInt32(value)
    }

    /// The entry with more extended attributes; existing ones take precedence.
    func adding(_ attributes: [AttributeName: [UInt8]]) -> Entry {
        var all = attributes
        for attribute in metadata.extendedAttributes { all[attribute.name] = attribute.value }
        var entry = self
        entry.metadata.extendedAttributes = Self.sorted(all)
        entry.dropResolvedLists()
        return entry
    }

    private static func sorted(_ attributes: [AttributeName: [UInt8]]) -> [ExtendedAttribute] {
        if attributes.isEmpty { return [] }
        return attributes.map { ExtendedAttribute(name: $0.key, value: $0.value) }.sorted {
            $0.name < $1.name
        }
    }
}
