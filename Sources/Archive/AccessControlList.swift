internal import Kernel

/// A POSIX ACL as PAX headers have it, one text for all: `user::rwx,user:lisa:r-x:1000,group::r-x,mask::r-x,other::---`
/// (acl(5), with the number of a named user behind the name).
struct AccessControlList {
    /// libarchive compares each entry of a list with all others, so that a mebibyte of them takes seconds. This is
    /// more than the 500 that ext4 holds.
    static let longestText = 16 << 10

    struct Item {
        let tag: UInt16
        let permissions: UInt16
        let id: UInt32
    }

    let items: [Item]

    init(items: [Item]) { self.items = items }

    var count: Int { items.count }

    init(text: ArraySlice<UInt8>) throws(ArchiveFailure.Reason) {
        var items = [Item]()
        for line in text.split(separator: UInt8(ascii: "\n")) {
            // GNU tar adds remarks on what is effective.
            let list = line.prefix { $0 != UInt8(ascii: "#") }
            for entry in list.split(separator: UInt8(ascii: ",")) {
                let words = entry.filter { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
                if words.isEmpty { continue }
                guard let item = Self.item(String(decoding: words, as: UTF8.self)) else {
                    throw .malformed("an access control list with '\(shown(entry))'")
                }
                items.append(item)
            }
        }
        self.items = items.sorted { ($0.tag, $0.id) < ($1.tag, $1.id) }
    }

    private static func item(_ text: String) -> Item? {
        let fields = text.split(separator: ":", omittingEmptySubsequences: false)
        // Solaris leaves the empty name out.
        let hasName = fields.count > 2
        guard let tag = fields.first, (2...4).contains(fields.count),
            let permissions = permissions(fields[hasName ? 2 : 1])
        else { return nil }
        let name = hasName ? fields[1] : ""
        switch (tag, name.isEmpty) {
        case ("user", true), ("u", true): return Item(tag: 0x01, permissions: permissions, id: .max)
        case ("group", true), ("g", true): return Item(tag: 0x04, permissions: permissions, id: .max)
        case ("mask", true), ("m", true): return Item(tag: 0x10, permissions: permissions, id: .max)
        case ("other", true), ("o", true): return Item(tag: 0x20, permissions: permissions, id: .max)
        case ("user", false), ("u", false), ("group", false), ("g", false):
            guard let id = UInt32(fields.count > 3 ? fields[3] : name), id != .max else { return nil }
            return Item(tag: tag.first == "u" ? 0x02 : 0x08, permissions: permissions, id: id)
        default: return nil
        }
    }

    private static func permissions(_ text: Substring) -> UInt16? {
        var bits: UInt16 = 0
        for character in text {
            switch character {
            case "r": bits |= 4
            case "w": bits |= 2
            case "x": bits |= 1
            case "-": break
            default: return nil
            }
        }
        return bits
    }

    /// For setxattr(2): version 2, then tag, permissions and id of each entry, all little-endian
    /// (linux/posix_acl_xattr.h).
    var encoded: [UInt8] {
        func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
            withUnsafeBytes(of: value.littleEndian, Array.init)
        }
        return littleEndian(UInt32(2))
            + items.flatMap { littleEndian($0.tag) + littleEndian($0.permissions) + littleEndian($0.id) }
    }
}
