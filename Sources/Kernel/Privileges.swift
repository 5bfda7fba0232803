internal import SystemPackage

/// What the process may do to files, which its user namespace and its capabilities decide (user_namespaces(7),
/// capabilities(7)). Neither changes while it runs.
package struct Privileges: Sendable {
    package static let current = Privileges(
        userMap: text("/proc/self/uid_map"), groupMap: text("/proc/self/gid_map"),
        status: text("/proc/self/status"), namespace: link("/proc/self/ns/user"))

    /// Whether every id of the machine is one here: no user namespace, or the first one. Nowhere else can devices be made, with
    /// whatever capabilities (mknod(2), EPERM).
    package let isInitialNamespace: Bool
    private let users: IDMap
    private let groups: IDMap
    private let capabilities: UInt64

    /// - Parameters:
    ///   - userMap, groupMap: as in `/proc/self/uid_map`.
    ///   - status: as in `/proc/self/status`.
    ///   - namespace: as `/proc/self/ns/user` links to it; another one can have all ids, too. Nil where that is not told.
    package init(userMap: String, groupMap: String, status: String, namespace: String?) {
        users = IDMap(userMap)
        groups = IDMap(groupMap)
        isInitialNamespace = users.isWhole && groups.isWhole && namespace ?? Self.initial == Self.initial
        let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        let digits = line?.split(whereSeparator: \.isWhitespace).last ?? ""
        capabilities = UInt64(digits, radix: 16) ?? 0
    }

    /// PROC_USER_INIT_INO (linux/proc_ns.h).
    private static let initial = "user:[4026531837]"

    private static func link(_ path: String) -> String? {
        guard let directory = try? Directory(opening: FilePath(path).removingLastComponent()),
            let target = try? directory.readLink(FileName(literal: "user"))
        else { return nil }
        return String(decoding: target, as: UTF8.self)
    }

    private static func text(_ path: String) -> String {
        String(decoding: (try? File.contents(of: FilePath(path))) ?? [], as: UTF8.self)
    }

    /// Whether the process has a capability in its user namespace.
    package func has(_ capability: Capability) -> Bool { capabilities >> capability.rawValue & 1 == 1 }

    /// Whether a file can be given to them: they are ids of this namespace.
    package func canOwn(uid: UInt32, gid: UInt32) -> Bool {
        isInitialNamespace || users.contains(uid) && groups.contains(gid)
    }

    /// Whether `trusted.*` can be set (xattr(7), "Trusted extended attributes"), and overlay mounted with them.
    package var hasTrustedAttributes: Bool { isInitialNamespace && has(.administer) }

    /// Whether file systems can be mounted: in the first namespace, or where this one's own mounts are.
    package var canMount: Bool { has(.administer) }

    /// How many ids there are of users, and of groups.
    package var idCount: UInt64 { min(users.count, groups.count) }
}

/// The ids of a user namespace: pieces of `inside outside count`.
private struct IDMap: Sendable {
    private let ranges: [(first: UInt64, count: UInt64)]

    init(_ text: String) {
        ranges = text.split(separator: "\n").compactMap { line in
            let numbers = line.split(whereSeparator: \.isWhitespace).compactMap { UInt64($0) }
            return numbers.count == 3 ? (numbers[0], numbers[2]) : nil
        }
        isWhole = text.split(whereSeparator: \.isWhitespace) == ["0", "0", "4294967295"]
    }

    let isWhole: Bool
    var count: UInt64 { ranges.reduce(0) { $0 + $1.count } }

    func contains(_ id: UInt32) -> Bool {
        ranges.contains { $0.first <= id && UInt64(id) - $0.first < $0.count }
    }
}
