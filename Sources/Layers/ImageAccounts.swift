internal import Archive
internal import Kernel

/// Users and groups of an image after one of its layers: `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
struct ImageAccounts: AccountLookup {
    static let passwd = "etc/passwd"
    static let group = "etc/group"
    /// Bytes that are read of each of the two files at most.
    static let largestFile: Int64 = 4 << 20

    private let users: [[UInt8]: UInt32]
    private let groups: [[UInt8]: UInt32]

    /// - Parameters:
    ///   - passwd: empty if the image has no such file.
    ///   - group: empty if the image has no such file.
    init(passwd: [UInt8], group: [UInt8]) {
        users = Self.numbers(in: passwd)
        groups = Self.numbers(in: group)
    }

    /// Maps the first field of each line to the third. The first line of a name counts; lines without a valid number
    /// are ignored.
    private static func numbers(in file: [UInt8]) -> [[UInt8]: UInt32] {
        var numbers = [[UInt8]: UInt32]()
        for line in file.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
            guard fields.count > 2, !fields[0].isEmpty,
                fields[2].allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = UInt32(String(decoding: fields[2], as: UTF8.self)), number != .max
            else { continue }
            let name = Array(fields[0])
            if numbers[name] == nil { numbers[name] = number }
        }
        return numbers
    }

    func user(_ name: [UInt8]) -> UInt32? { users[name] }
    func group(_ name: [UInt8]) -> UInt32? { groups[name] }
}

/// Replaces the names in access control lists of a layer's entries by IDs. The IDs are known after a first pass over
/// the layer, because the layer may contain the accounts itself.
struct AccountResolver {
    /// Nil in the first pass.
    private let accounts: ImageAccounts?
    /// Whether an entry needed the accounts when they were not known: the layer has to be read again.
    private(set) var areMissing = false

    init(_ accounts: ImageAccounts?) { self.accounts = accounts }

    /// - Returns: the entry with IDs; unchanged, without the list, while the accounts are not known.
    /// - Throws: `.refused` if the image has no user or group of a name.
    mutating func resolveNames(in entry: Entry) throws(LayerFailure) -> Entry {
        guard entry.hasUnresolvedNames else { return entry }
        guard let accounts else {
            areMissing = true
            return entry
        }
        do {
            return try entry.resolvingNames(with: accounts)
        } catch {
            throw LayerFailure(refusing: entry.path, "\(error)")
        }
    }
}
