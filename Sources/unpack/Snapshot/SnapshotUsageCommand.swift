internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotUsageCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "Show the disk usage of snapshots, without their parents.")

    @Argument(help: "Keys and names; every snapshot by default.")
    var keys: [String] = []

    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    @Flag(name: .customShort("b"), help: "Print bytes.")
    var bytes = false

    @OptionGroup var output: JSONOptions

    private struct Document: Encodable {
        let key: String
        /// Bytes.
        let diskUsage: Int64
        let inodes: Int64
    }

    func run() throws {
        let all = keys.isEmpty ? try store.snapshots([]).map(\.name) : keys
        var usages = [Document]()
        if !all.isEmpty {
            let store = try self.store.openExisting()
            for given in all {
                let key = try keys.isEmpty ? given : self.store.snapshotName(given, in: store)
                // Another process may remove a listed snapshot meanwhile.
                let usage = try attempt {
                    try keys.isEmpty ? store.usageIfPresent(of: key) : store.usage(of: key)
                }
                guard let usage else { continue }
                usages.append(Document(key: key, diskUsage: usage.size, inodes: usage.inodes))
            }
        }
        if output.isJSON { return try printResult(try attempt { try encoded(usages) }) }
        let rows = usages.map {
            [$0.key, bytes ? "\($0.diskUsage)" : decimalSize($0.diskUsage), "\($0.inodes)"]
        }
        try printResult(Table(["KEY", "SIZE", "INODES"], rows).text)
    }
}
