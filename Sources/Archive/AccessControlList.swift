internal import CArchive
internal import Kernel

/// POSIX ACLs of an entry in the form that setxattr(2) takes: version 2, then tag, permissions and id of each
/// entry, all little-endian (linux/posix_acl_xattr.h).
enum AccessControlList {
    /// The ACLs that say more than the mode does, as `system.posix_acl_access` and
    /// `system.posix_acl_default`.
    static func attributes(of entry: OpaquePointer) -> [ExtendedAttribute] {
        let kinds = [
            (ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access", 3),
            (ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default", 0),
        ]
        return kinds.compactMap { type, name, implied in
            let entries = self.entries(of: entry, type)
            guard entries.count > implied else { return nil }
            return ExtendedAttribute(name: AttributeName(literal: name), value: encode(entries))
        }
    }

    private struct Item {
        let tag: UInt16
        let permissions: UInt16
        let id: UInt32
    }

    private static func entries(of entry: OpaquePointer, _ wanted: Int32) -> [Item] {
        guard archive_entry_acl_reset(entry, wanted) > 0 else { return [] }
        var items = [Item]()
        var type: Int32 = 0
        var permissions: Int32 = 0
        var tag: Int32 = 0
        var id: Int32 = 0
        var name: UnsafePointer<CChar>?
        while archive_entry_acl_next(entry, wanted, &type, &permissions, &tag, &id, &name) == ARCHIVE_OK {
            guard let kernelTag = kernelTag(tag) else { continue }
            let hasID = kernelTag == 0x02 || kernelTag == 0x08
            items.append(
                Item(
                    tag: kernelTag, permissions: UInt16(permissions & 7),
                    id: hasID ? UInt32(bitPattern: id) : .max))
        }
        return items.sorted { ($0.tag, $0.id) < ($1.tag, $1.id) }
    }

    private static func kernelTag(_ tag: Int32) -> UInt16? {
        switch tag {
        case ARCHIVE_ENTRY_ACL_USER_OBJ: 0x01
        case ARCHIVE_ENTRY_ACL_USER: 0x02
        case ARCHIVE_ENTRY_ACL_GROUP_OBJ: 0x04
        case ARCHIVE_ENTRY_ACL_GROUP: 0x08
        case ARCHIVE_ENTRY_ACL_MASK: 0x10
        case ARCHIVE_ENTRY_ACL_OTHER: 0x20
        default: nil
        }
    }

    private static func encode(_ items: [Item]) -> [UInt8] {
        func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
            withUnsafeBytes(of: value.littleEndian, Array.init)
        }
        return littleEndian(UInt32(2))
            + items.flatMap { littleEndian($0.tag) + littleEndian($0.permissions) + littleEndian($0.id) }
    }
}
