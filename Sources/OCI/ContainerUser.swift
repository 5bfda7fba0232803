/// The user and groups of an image's process (OCI image spec, config.md, "User", and conversion.md, "Config.User").
package struct ContainerUser: Equatable, Sendable {
    package let uid: UInt32
    package let gid: UInt32
    package let additionalGroups: [UInt32]

    package enum Failure: Error, Equatable, Sendable, CustomStringConvertible {
        case noUser(String)
        case noGroup(String)
        case idOutOfRange(String)
        case malformedGroup(ofUser: String)
        case malformedGroupID(String)
        case notText

        package var description: String {
            switch self {
            case .noUser(let name):
                "the image is to run as '\(name.printable)', and its /etc/passwd has no such user"
            case .noGroup(let name):
                "the image is to run as group '\(name.printable)', and its /etc/group has no such group"
            case .idOutOfRange(let id):
                "the image is to run as '\(id.printable)', and ids above \(Int32.max) are invalid"
            case .malformedGroup(let name):
                "the image is to run as '\(name.printable)', whose group in its /etc/passwd is not a number"
            case .malformedGroupID(let name):
                "the image is to run as group '\(name.printable)', whose number in its /etc/group is not a number"
            case .notText: "config.User of the image is not a string"
            }
        }
    }

    /// Resolves `config.User`. Digits are always an id, even if an account has them as its name. Names are looked up
    /// in the account files; if the text names no group, the groups come from the user's account.
    ///
    /// - Parameters:
    ///   - text: `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid`; the empty string means root.
    ///   - passwd: the image's `/etc/passwd` (passwd(5)); empty if the image has none.
    ///   - group: the image's `/etc/group` (group(5)); empty if the image has none.
    package init(_ text: String, passwd: [UInt8], group: [UInt8]) throws(Failure) {
        let parts = text.utf8.split(
            separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false
        )
        .map(Array.init)
        let name = parts[0].isEmpty ? Array("0".utf8) : parts[0]
        let account: Account?
        if let number = try Self.number(name) {
            uid = number
            account = Account.list(passwd).first { $0.uid == number }
        } else {
            guard let found = Account.list(passwd).first(where: { $0.name == name }) else {
                throw .noUser(String(decoding: name, as: UTF8.self))
            }
            uid = found.uid
            account = found
        }
        let groups = AccountGroup.list(group)
        if parts.count > 1, !parts[1].isEmpty {
            gid = try Self.groupID(parts[1], in: groups)
            // An explicit group replaces the additional groups.
            additionalGroups = []
            return
        }
        guard let account else {
            gid = 0
            additionalGroups = []
            return
        }
        // Falling back to group 0 would grant rights that the image does not ask for.
        guard let gid = account.gid else {
            throw .malformedGroup(ofUser: String(decoding: name, as: UTF8.self))
        }
        self.gid = gid
        additionalGroups = groups.filter { $0.members.contains(account.name[...]) }.compactMap(\.gid)
            .filter { $0 != gid }
    }

    private static func groupID(_ text: [UInt8], in groups: [AccountGroup]) throws(Failure) -> UInt32 {
        if let number = try number(text) { return number }
        guard let found = groups.first(where: { $0.name == text }) else {
            throw .noGroup(String(decoding: text, as: UTF8.self))
        }
        guard let gid = found.gid else { throw .malformedGroupID(String(decoding: text, as: UTF8.self)) }
        return gid
    }

    /// The id if the text is all digits; nil for a name.
    private static func number(_ text: [UInt8]) throws(Failure) -> UInt32? {
        guard text.allSatisfy(isDigit) else { return nil }
        guard let number = id(text) else { throw .idOutOfRange(String(decoding: text, as: UTF8.self)) }
        return number
    }
}

private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

/// Parses a decimal id up to `Int32.max`, the limit of runtimes: the kernel gives some larger ids a special meaning.
private func id(_ text: [UInt8]) -> UInt32? {
    guard !text.isEmpty, text.allSatisfy(isDigit) else { return nil }
    return Int32(String(decoding: text, as: UTF8.self)).map(UInt32.init)
}

/// A line of passwd(5). Lines that shadow-utils rejects are skipped (lib/sgetpwent.c): it requires seven fields and a
/// numeric user id.
private struct Account {
    let name: [UInt8]
    let uid: UInt32
    /// Nil if the field is not a number.
    let gid: UInt32?

    static func list(_ file: [UInt8]) -> [Account] {
        fields(file).compactMap { fields in
            guard fields.count == 7, let uid = id(fields[2]) else { return nil }
            return Account(name: fields[0], uid: uid, gid: id(fields[3]))
        }
    }
}

/// A line of group(5), with the fields that shadow-utils accepts (lib/sgetgrent.c): three, or four with the members.
private struct AccountGroup {
    let name: [UInt8]
    /// Nil if the field is not a number.
    let gid: UInt32?
    let members: [ArraySlice<UInt8>]

    static func list(_ file: [UInt8]) -> [AccountGroup] {
        fields(file).compactMap { fields in
            guard (3...4).contains(fields.count) else { return nil }
            return AccountGroup(
                name: fields[0], gid: id(fields[2]),
                members: fields.count > 3 ? fields[3].split(separator: UInt8(ascii: ",")) : [])
        }
    }
}

/// The fields of each line. Lines with a NUL are skipped: a C program would see only the part before it.
private func fields(_ file: [UInt8]) -> [[[UInt8]]] {
    file.split(separator: UInt8(ascii: "\n")).filter { !$0.contains(0) }.map { line in
        line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false).map(Array.init)
    }
}
