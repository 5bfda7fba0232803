internal import Kernel

/// A POSIX ACL, parsed from the text of a PAX record: `user::rwx,user:lisa:r-x:1000,group::r-x,mask::r-x,other::---`
/// (acl(5), with the id of a named user or group after the permissions).
struct AccessControlList {
    /// Maximum length of the text in bytes. libarchive compares each entry of a list with all others, so that a list
    /// of 1 MiB takes seconds. The limit is above the 500 entries that ext4 can store.
    static let longestText = 16 << 10

    struct Item {
        let tag: UInt16
        let permissions: UInt16
        let id: UInt32
        /// Name of a user or group if the text has no id for it.
        var name: [UInt8]?
    }

    let items: [Item]

    init(items: [Item]) { self.items = items }

    var count: Int { items.count }

    /// Whether an entry has a name without an id.
    var hasNames: Bool { items.contains { $0.name != nil } }

    init(text: ArraySlice<UInt8>) throws(ArchiveFailure.Reason) {
        var items = [Item]()
        for line in text.split(separator: UInt8(ascii: "\n")) {
            // GNU tar adds comments about effective permissions.
            let list = line.prefix { $0 != UInt8(ascii: "#") }
            for entry in list.split(separator: UInt8(ascii: ",")) {
                let words = entry.filter { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
                if words.isEmpty { continue }
                guard let item = Self.item(words) else {
                    throw .malformed("an access control list with '\(shown(entry))'")
                }
                items.append(item)
            }
        }
        self.init(sorting: items)
    }

    /// Sorts the entries in the order that the kernel requires (posix_acl_valid).
    private init(sorting items: [Item]) { self.items = items.sorted { ($0.tag, $0.id) < ($1.tag, $1.id) } }

    private static func item(_ text: [UInt8]) -> Item? {
        let fields = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        // Solaris omits the empty name and its colon.
        let hasName = fields.count > 2
        guard let tag = fields.first, (2...4).contains(fields.count),
            let permissions = permissions(fields[hasName ? 2 : 1])
        else { return nil }
        let name = hasName ? fields[1] : []
        switch (String(decoding: tag, as: UTF8.self), name.isEmpty) {
        case ("user", true), ("u", true): return Item(tag: 0x01, permissions: permissions, id: .max)
        case ("group", true), ("g", true): return Item(tag: 0x04, permissions: permissions, id: .max)
        case ("mask", true), ("m", true): return Item(tag: 0x10, permissions: permissions, id: .max)
        case ("other", true), ("o", true): return Item(tag: 0x20, permissions: permissions, id: .max)
        case ("user", false), ("u", false), ("group", false), ("g", false):
            let tag: UInt16 = tag.first == UInt8(ascii: "u") ? 0x02 : 0x08
            if let id = number(fields.count > 3 ? fields[3] : name) {
                return id == .max ? nil : Item(tag: tag, permissions: permissions, id: id)
            }
            return fields.count > 3
                ? nil : Item(tag: tag, permissions: permissions, id: .max, name: Array(name))
        default: return nil
        }
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> UInt32? {
        guard digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
        return UInt32(String(decoding: digits, as: UTF8.self))
    }

    private static func permissions(_ text: ArraySlice<UInt8>) -> UInt16? {
        var bits: UInt16 = 0
        for character in text {
            switch character {
            case UInt8(ascii: "r"): bits |= 4
            case UInt8(ascii: "w"): bits |= 2
            case UInt8(ascii: "x"): bits |= 1
            case UInt8(ascii: "-"): break
            default: return nil
            }
        }
        return bits
    }

    /// The list with all names replaced by ids.
    ///
    /// - Throws: `.malformed` for an unknown user or group.
    func resolved(with accounts: some AccountLookup) throws(ArchiveFailure.Reason) -> AccessControlList {
        var resolved = [Item]()
        for item in items {
            guard let name = item.name else {
                resolved.append(item)
                continue
            }
            let isUser = item.tag == 0x02
            guard let id = isUser ? accounts.user(name) : accounts.group(name) else {
                throw .malformed(
                    "the access control list entry '\(isUser ? "user" : "group"):\(shown(name))': the image has no such \(isUser ? "user" : "group")"
                )
            }
            resolved.append(Item(tag: item.tag, permissions: item.permissions, id: id))
        }
        return AccessControlList(sorting: resolved)
    }

    /// The value for setxattr(2): version 2, then tag, permissions and id of each entry, all little-endian
    /// (linux/posix_acl_xattr.h).
    var encoded: [UInt8] {
        func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
            withUnsafeBytes(of: value.littleEndian, Array.init)
        }
        return littleEndian(UInt32(2))
            + items.flatMap { littleEndian($0.tag) + littleEndian($0.permissions) + littleEndian($0.id) }
    }
}
