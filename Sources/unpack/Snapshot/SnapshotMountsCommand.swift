internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotMountsCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "mounts", abstract: "Print how to mount an active snapshot or a view.")

    @Argument(help: "The snapshot's key.")
    var key: String

    @OptionGroup var mounts: MountOptions
    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    func run() throws {
        let store = try self.store.openExisting()
        let name = try self.store.snapshotName(key, in: store)
        let found = try attempt { try store.mounts(of: name) }
        try printResult(try mounts.text(of: found, name, in: self.store))
    }
}
