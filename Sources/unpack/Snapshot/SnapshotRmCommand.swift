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
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogFormatOption

    func run() throws {
        let store = try self.store.openExisting()
        for key in keys {
            try attempt { try store.remove(key, .started) }
            _ = try waiting.finish(store, self.store)
        }
    }
}
