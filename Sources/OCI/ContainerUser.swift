/// Whose process an image runs, by the image's own accounts (OCI image spec, config.md, "User").
package struct ContainerUser: Equatable, Sendable {
    package let uid: UInt32
    package let gid: UInt32
    package let additionalGroups: [UInt32]

    package enum Failure: Error, Equatable, Sendable, CustomStringConvertible {
        case noUser(String)
        case noGroup(String)

        package var description: String {
            switch self {
            case .noUser(let name):
                "the image is to run as '\(name.printable)', and its /etc/passwd has no such user"
            case .noGroup(let name):
                "the image is to run as group '\(name.printable)', and its /etc/group has none of that name"
            }
        }
    }

    /// - Parameters:
    ///   - text: `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid`; empty is root.
    ///   - passwd: the image's `/etc/passwd`; nothing where it has none (passwd(5)).
    ///   - group: its `/etc/group` (group(5)).
    package init(_ text: String, passwd: [UInt8], group: [UInt8]) throws(Failure) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(
            String.init)
        let name = parts.first.flatMap { $0.isEmpty ? nil : $0 } ?? "0"
        let users = Self.lines(passwd).filter { $0.count > 3 }
        let groups = Self.lines(group).filter { $0.count > 2 }
        // A name may be all digits: it goes before the number.
        let found = users.first { $0[0] == name } ?? users.first { $0[2] == name }
        guard let uid = found.flatMap({ Self.id($0[2]) }) ?? Self.id(name) else { throw .noUser(name) }
        self.uid = uid
        if parts.count > 1, !parts[1].isEmpty {
            let found = groups.first { $0[0] == parts[1] }
            guard let gid = found.flatMap({ Self.id($0[2]) }) ?? Self.id(parts[1]) else {
                throw .noGroup(parts[1])
            }
            self.gid = gid
            // Whoever names a group wants that one.
            additionalGroups = []
            return
        }
        let gid = found.flatMap { Self.id($0[3]) } ?? 0
        self.gid = gid
        guard let login = found?[0] else {
            additionalGroups = []
            return
        }
        additionalGroups = groups.filter {
            $0.count > 3 && $0[3].split(separator: ",").contains(Substring(login))
        }
        .compactMap { Self.id($0[2]) }.filter { $0 != gid }
    }

    /// Digits alone, and as large as runtimes take it: above, ids have meanings of their own to the kernel.
    private static func id(_ text: String) -> UInt32? {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let id = Int32(text) else { return nil }
        return UInt32(id)
    }

    private static func lines(_ file: [UInt8]) -> [[String]] {
        String(decoding: file, as: UTF8.self).split(whereSeparator: \.isNewline).map { line in
            line.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        }
    }
}
