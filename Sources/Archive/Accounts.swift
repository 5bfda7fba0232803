internal import Kernel

/// The numbers of an image's users and groups, by their names as bytes.
package protocol Accounts: Sendable {
    /// Nil if there is no user of that name.
    func user(_ name: [UInt8]) -> UInt32?
    /// Nil if there is no group of that name.
    func group(_ name: [UInt8]) -> UInt32?
}

extension Entry {
    /// Whether an access control list names users or groups without their numbers, as GNU tar writes one.
    package var namesAccounts: Bool { !namedLists.isEmpty }

    /// With all its access control lists.
    ///
    /// - Throws: `.malformed` if the image has no user or group of a name.
    package func numbered(by accounts: some Accounts) throws(ArchiveFailure.Reason) -> Entry {
        var attributes = [AttributeName: [UInt8]]()
        for (name, list) in namedLists { attributes[name] = try list.numbered(by: accounts).encoded }
        return adding(attributes)
    }
}
