internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotRmCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove snapshots that have no children.",
        discussion: WaitOptions.discussion)

    @Argument(help: "Keys and names, removed in this order.")
    var keys: [String]

    @OptionGroup var waiting: WaitOptions
    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    func run() throws {
        let store = try self.store.openExisting()
        for key in keys {
            let name = try self.store.snapshotName(key, in: store)
            try attempt { try store.remove(name, .started) }
            _ = try waiting.finish(store, self.store)
        }
    }
}
