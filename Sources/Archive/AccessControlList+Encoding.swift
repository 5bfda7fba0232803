internal import Kernel

extension AccessControlList {
    /// Decodes the xattr form, as `encoded` produces it; nil if the bytes are invalid.
    init?(encoded bytes: [UInt8]) {
        guard bytes.count >= 4, (bytes.count - 4) % 8 == 0, bytes.prefix(4) == [2, 0, 0, 0] else {
            return nil
        }
        func number(_ range: Range<Int>) -> UInt32 {
            bytes[range].reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }
        items = stride(from: 4, to: bytes.count, by: 8).map { start in
            Item(
                tag: UInt16(number(start..<start + 2)), permissions: UInt16(number(start + 2..<start + 4)),
                id: number(start + 4..<start + 8))
        }
        guard items.allSatisfy({ Self.names[$0.tag] != nil && $0.permissions <= 7 }) else { return nil }
    }

    private static let names: [UInt16: String] = [
        0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other",
    ]

    /// The text of a PAX record in the format of star, with the numeric ID also in place of the name. All readers
    /// accept a number there.
    var text: [UInt8] {
        let lines = items.map { item in
            let isNamed = item.tag == 0x02 || item.tag == 0x08
            let bits =
                (item.permissions & 4 != 0 ? "r" : "-") + (item.permissions & 2 != 0 ? "w" : "-")
                + (item.permissions & 1 != 0 ? "x" : "-")
            let name = isNamed ? "\(item.id)" : ""
            return "\(Self.names[item.tag] ?? ""):\(name):\(bits)" + (isNamed ? ":\(item.id)" : "")
        }
        return Array(lines.joined(separator: ",").utf8)
    }

    /// Whether the list is equivalent to a mode: it has no named entries and no mask.
    var isPlain: Bool { items.allSatisfy { [0x01, 0x04, 0x20].contains($0.tag) } }

    /// The list after a chmod(2): the group bits of the mode set the mask, or the owning group's entry without one.
    func changed(to mode: UInt32) -> AccessControlList {
        let hasMask = items.contains { $0.tag == 0x10 }
        return AccessControlList(
            items: items.map { item in
                let shift: UInt32? =
                    switch item.tag {
                    case 0x01: 6
                    case 0x04 where !hasMask: 3
                    case 0x10: 3
                    case 0x20: 0
                    default: nil
                    }
                guard let shift else { return item }
                return Item(tag: item.tag, permissions: UInt16(mode >> shift & 7), id: item.id)
            })
    }
}

extension Metadata {
    /// The metadata with the access control list updated to the mode, as the kernel does when the mode is set last. A
    /// list that is equivalent to the mode is removed.
    package func updatingAccessControlToMode() -> Metadata {
        guard let index = extendedAttributes.firstIndex(where: { $0.name == .accessControl }),
            let list = AccessControlList(encoded: extendedAttributes[index].value)?.changed(to: mode)
        else { return self }
        var changed = self
        if list.isPlain {
            changed.extendedAttributes.remove(at: index)
        } else {
            changed.extendedAttributes[index] = ExtendedAttribute(name: .accessControl, value: list.encoded)
        }
        return changed
    }
}
