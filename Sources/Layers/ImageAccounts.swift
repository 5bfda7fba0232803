internal import Archive
internal import Kernel

/// The users and groups of an image as one of its layers leaves them: its `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
struct ImageAccounts: Accounts {
    static let passwd = "etc/passwd"
    static let group = "etc/group"
    /// Bytes that are read of a file.
    static let largestFile: Int64 = 4 << 20

    private let users: [[UInt8]: UInt32]
    private let groups: [[UInt8]: UInt32]

    /// - Parameters:
    ///   - passwd: nothing if the image has no such file.
    ///   - group: likewise.
    init(passwd: [UInt8], group: [UInt8]) {
        users = Self.numbers(in: passwd)
        groups = Self.numbers(in: group)
    }

    /// The third field by the first, of the first line that has a name; lines that have no number are passed over.
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

/// Gives the access control lists of a layer's entries their numbers. Which ones is known when the layer has been read once:
/// the layer may bring its own accounts.
struct AccountNumbers {
    /// Nil while they have not been read.
    private let accounts: ImageAccounts?
    /// Whether an entry has come without a list because of that: the layer has to be read again.
    private(set) var areMissing = false

    init(_ accounts: ImageAccounts?) { self.accounts = accounts }

    /// - Throws: a refusal if the image has no user or group of a name.
    mutating func number(_ entry: Entry) throws(LayerFailure) -> Entry {
        guard entry.namesAccounts else { return entry }
        guard let accounts else {
            areMissing = true
            return entry
        }
        do {
            return try entry.numbered(by: accounts)
        } catch {
            throw LayerFailure(refusing: entry.path, "\(error)")
        }
    }
}
