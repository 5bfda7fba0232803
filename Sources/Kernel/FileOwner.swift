/// Who owns a file where the file cannot be given to them, in `user.rootlesscontainers`: a message of Protocol Buffers with the
/// user as field 1 and the group as field 2, as umoci and PRoot write it.
package struct FileOwner: Equatable, Sendable {
    package static let attribute = AttributeName(literal: "user.rootlesscontainers")

    package let uid: UInt32
    package let gid: UInt32

    package init(uid: UInt32, gid: UInt32) {
        self.uid = uid
        self.gid = gid
    }

    /// Nil for what is no such message.
    package init?(_ bytes: [UInt8]) {
        var ids: [UInt64] = [0, 0]
        var rest = bytes[...]
        func number() -> UInt64? {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 64, by: 7) {
                guard let byte = rest.popFirst() else { return nil }
                value |= UInt64(byte & 0x7F) << shift
                if byte & 0x80 == 0 { return value }
            }
            return nil
        }
        while let tag = rest.popFirst() {
            guard tag == 0x08 || tag == 0x10, let value = number(), value <= UInt32.max else { return nil }
            ids[tag == 0x08 ? 0 : 1] = value
        }
        uid = UInt32(ids[0])
        gid = UInt32(ids[1])
    }

    /// A field that is 0 is left out, as the format has it.
    package var encoded: [UInt8] {
        var bytes = [UInt8]()
        for (tag, id) in [(UInt8(0x08), uid), (0x10, gid)] where id != 0 {
            bytes.append(tag)
            var rest = id
            while rest >= 0x80 {
                bytes.append(UInt8(rest & 0x7F) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        return bytes
    }
}
