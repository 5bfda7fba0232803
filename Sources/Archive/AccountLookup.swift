internal import Kernel

/// Looks up the ids of an image's users and groups by name, as bytes.
package protocol AccountLookup: Sendable {
    /// The uid; nil if there is no user of that name.
    func user(_ name: [UInt8]) -> UInt32?
    /// The gid; nil if there is no group of that name.
    func group(_ name: [UInt8]) -> UInt32?
}

extension Entry {
    /// Whether an access control list has names without ids, as GNU tar writes them.
    package var hasUnresolvedNames: Bool { !unresolvedLists.isEmpty }

    /// The entry with the names in its access control lists replaced by ids.
    ///
    /// - Throws: `.malformed` if the image has no such user or group.
    package func resolvingNames(with accounts: some AccountLookup) throws(ArchiveFailure.Reason) -> Entry {
        var attributes = [AttributeName: [UInt8]]()
        for (name, list) in unresolvedLists { attributes[name] = try list.resolved(with: accounts).encoded }
        return adding(attributes)
    }
}
