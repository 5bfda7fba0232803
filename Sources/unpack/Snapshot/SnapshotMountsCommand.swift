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
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogFormatOption

    func run() throws {
        let found = try attempt { try store.openExisting().mounts(of: key) }
        try printResult(try mounts.text(of: found, key, in: store))
    }
}
