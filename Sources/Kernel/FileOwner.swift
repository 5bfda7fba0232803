/// The owner of a file that cannot be set with chown(2), stored in the attribute `user.rootlesscontainers`: a protobuf
/// message with the user ID as field 1 and the group ID as field 2, as umoci and PRoot write it.
package struct FileOwner: Equatable, Sendable {
    package static let attribute = AttributeName(literal: "user.rootlesscontainers")

    package let uid: UInt32
    package let gid: UInt32

    package init(uid: UInt32, gid: UInt32) {
        self.uid = uid
        self.gid = gid
    }

    /// Nil if the bytes are not such a message.
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

    /// The encoded message. A field with the value 0 is omitted, as in proto3.
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
