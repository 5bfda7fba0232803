internal import SystemPackage

/// What the process may do to files, as its user namespace and capabilities allow (user_namespaces(7),
/// capabilities(7)). Neither changes during its lifetime.
package struct Privileges: Sendable {
    package static let current = Privileges(
        userMap: text("/proc/self/uid_map"), groupMap: text("/proc/self/gid_map"),
        status: text("/proc/self/status"), namespace: link("/proc/self/ns/user"))

    /// Whether this is the initial user namespace. In any other, devices cannot be made, even with all capabilities
    /// (mknod(2), EPERM).
    package let isInitialNamespace: Bool
    private let users: IDMap
    private let groups: IDMap
    private let capabilities: UInt64

    /// - Parameters:
    ///   - userMap, groupMap: contents of `/proc/self/uid_map` and `gid_map`.
    ///   - status: contents of `/proc/self/status`.
    ///   - namespace: target of `/proc/self/ns/user`, because another namespace can map all IDs, too; nil if unknown.
    package init(userMap: String, groupMap: String, status: String, namespace: String?) {
        users = IDMap(userMap)
        groups = IDMap(groupMap)
        isInitialNamespace = users.mapsAll && groups.mapsAll && namespace ?? Self.initial == Self.initial
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

    /// Whether both IDs are mapped in this namespace, so that a file can be given to them.
    package func canOwn(uid: UInt32, gid: UInt32) -> Bool {
        isInitialNamespace || users.contains(uid) && groups.contains(gid)
    }

    /// Whether `trusted.*` attributes can be set (xattr(7), "Trusted extended attributes") and used by overlayfs.
    package var hasTrustedAttributes: Bool { isInitialNamespace && has(.sysAdmin) }

    /// Whether the process has CAP_SYS_ADMIN in its user namespace, and can mount in the mount namespaces that this one
    /// owns.
    package var canMount: Bool { has(.sysAdmin) }

    /// Number of mapped user IDs or group IDs, whichever is smaller.
    package var idCount: UInt64 { min(users.count, groups.count) }
}

/// The ID map of a user namespace: lines of `inside outside count` (user_namespaces(7)).
private struct IDMap: Sendable {
    private let ranges: [(first: UInt64, count: UInt64)]

    init(_ text: String) {
        ranges = text.split(separator: "\n").compactMap { line in
            let numbers = line.split(whereSeparator: \.isWhitespace).compactMap { UInt64($0) }
            return numbers.count == 3 ? (numbers[0], numbers[2]) : nil
        }
        mapsAll = text.split(whereSeparator: \.isWhitespace) == ["0", "0", "4294967295"]
    }

    /// Whether the map is the identity for all IDs.
    let mapsAll: Bool
    var count: UInt64 { ranges.reduce(0) { $0 + $1.count } }

    func contains(_ id: UInt32) -> Bool {
        ranges.contains { $0.first <= id && UInt64(id) - $0.first < $0.count }
    }
}
