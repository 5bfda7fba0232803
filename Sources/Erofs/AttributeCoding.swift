/// The extended attributes of an inode on disk: `struct erofs_xattr_ibody_header` and entries.
enum AttributeCoding {
    /// `EROFS_XATTR_INDEX_*` with the prefix that each stands for. The prefixes of the ACLs are whole names.
    private static let prefixes: [(index: UInt8, prefix: [UInt8])] = [
        (1, Array("user.".utf8)), (2, Array("system.posix_acl_access".utf8)),
        (3, Array("system.posix_acl_default".utf8)), (4, Array("trusted.".utf8)),
        (6, Array("security.".utf8)),
    ]
    private static let lists: ClosedRange<UInt8> = 2...3

    private struct Entry {
        let index: UInt8
        let name: ArraySlice<UInt8>
        let value: [UInt8]

        init(_ attribute: InodeAttribute) throws(ErofsError) {
            guard let (index, prefix) = prefixes.first(where: { attribute.name.starts(with: $0.prefix) })
            else {
                throw .unsupportedAttribute
            }
            name = attribute.name[prefix.count...]
            // A NUL would end the name in the list that the kernel returns.
            guard lists.contains(index) ? name.isEmpty : (1...255).contains(name.count), !name.contains(0)
            else {
                throw .unsupportedAttribute
            }
            guard attribute.value.count <= Int(UInt16.max) else { throw .attributesTooLarge }
            self.index = index
            value = attribute.value
        }

        func precedes(_ other: Entry) -> Bool {
            if index != other.index { return index < other.index }
            return name.lexicographicallyPrecedes(other.name)
        }

        /// Appends the entry, padded to a multiple of 4 bytes.
        func append(to bytes: inout [UInt8]) {
            bytes.append(UInt8(name.count))
            bytes.append(index)
            bytes.append(little: UInt16(value.count))
            bytes += name
            bytes += value
            bytes.append(contentsOf: repeatElement(0, count: Int(UInt64(bytes.count).padding(to: 4))))
        }
    }

    /// Returns the entries in the order of their indexes and names.
    private static func sorted(_ attributes: [InodeAttribute]) throws(ErofsError) -> [Entry] {
        var entries = [Entry]()
        entries.reserveCapacity(attributes.count)
        for attribute in attributes { entries.append(try Entry(attribute)) }
        entries.sort { $0.precedes($1) }
        guard zip(entries, entries.dropFirst()).allSatisfy({ $0.precedes($1) }) else {
            throw .duplicateAttribute
        }
        return entries
    }

    /// Replaces the content of `bytes` with the attributes and their header, or with nothing if there are none: a header
    /// without attributes is invalid.
    static func encode(_ attributes: [InodeAttribute], into bytes: inout [UInt8]) throws(ErofsError) {
        bytes.removeAll(keepingCapacity: true)
        guard !attributes.isEmpty else { return }
        bytes.append(contentsOf: repeatElement(0, count: Format.attributeHeaderSize))
        for entry in try sorted(attributes) {
            entry.append(to: &bytes)
            guard bytes.count <= Format.maximumAttributesSize else { throw .attributesTooLarge }
        }
    }

    /// Encodes attributes for the shared area, which begins at a multiple of 4 bytes.
    ///
    /// - Returns: the header with the numbers of the attributes, and the area.
    static func encodeShared(_ attributes: [InodeAttribute]) throws(ErofsError) -> (
        header: [UInt8], area: [UInt8]
    ) {
        guard attributes.count <= Int(UInt8.max) else { throw .attributesTooLarge }
        var header: [UInt8] = [0, 0, 0, 0, UInt8(attributes.count), 0, 0, 0, 0, 0, 0, 0]
        var area = [UInt8]()
        for entry in try sorted(attributes) {
            header.append(little: UInt32(area.count / 4))
            entry.append(to: &area)
        }
        return (header, area)
    }

    /// Parses one entry.
    ///
    /// - Parameter offset: of the entry; moved after it.
    /// - Returns: nil for an attribute of a prefix that the kernel does not show either.
    static func parse(_ bytes: [UInt8], at offset: inout Int, node: UInt64) throws(ErofsError)
        -> InodeAttribute?
    {
        guard bytes.count - offset >= Format.attributeEntrySize else {
            throw .corrupt(.attributes, node: node)
        }
        let nameLength = Int(bytes[offset])
        let index = bytes[offset + 1]
        let valueLength = Int(bytes.little(at: offset + 2, as: UInt16.self))
        let start = offset + Format.attributeEntrySize
        guard bytes.count - start >= nameLength + valueLength else { throw .corrupt(.attributes, node: node) }
        let name = bytes[start..<start + nameLength]
        offset = Int(UInt64(start + nameLength + valueLength).aligned(to: 4))
        guard index & 0x80 == 0 else { throw .unsupported(.attributePrefixes) }
        guard let prefix = prefixes.first(where: { $0.index == index })?.prefix else { return nil }
        guard lists.contains(index) ? name.isEmpty : !name.isEmpty, !name.contains(0) else {
            throw .corrupt(.attributes, node: node)
        }
        return InodeAttribute(
            name: prefix + name, value: Array(bytes[start + nameLength..<start + nameLength + valueLength]))
    }

    /// Bytes of the entry that begins with these 4 bytes, without padding.
    static func entrySize(_ bytes: [UInt8]) -> Int {
        Format.attributeEntrySize + Int(bytes[0]) + Int(bytes.little(at: 2, as: UInt16.self))
    }

    /// Parses the attributes that follow an inode.
    ///
    /// - Parameter bytes: the header and the rest.
    /// - Returns: the attributes in the inode, and the numbers of those in the shared area.
    static func parse(_ bytes: [UInt8], node: UInt64) throws(ErofsError) -> (
        own: [InodeAttribute], shared: [UInt32]
    ) {
        guard bytes.count > Format.attributeHeaderSize else { throw .corrupt(.attributes, node: node) }
        let sharedCount = Int(bytes[4])
        var offset = Format.attributeHeaderSize + 4 * sharedCount
        guard offset <= bytes.count else { throw .corrupt(.attributes, node: node) }
        let shared = (0..<sharedCount).map {
            bytes.little(at: Format.attributeHeaderSize + 4 * $0, as: UInt32.self)
        }
        var own = [InodeAttribute]()
        while offset < bytes.count {
            if let attribute = try parse(bytes, at: &offset, node: node) { own.append(attribute) }
        }
        return (own, shared)
    }
}
