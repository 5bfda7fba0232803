internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotStatCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "stat", abstract: "Print the record of a snapshot as JSON.")

    @Argument(help: "The snapshot's key or name.")
    var key: String

    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    @OptionGroup var output: SnapshotOutput

    func run() throws {
        let store = try self.store.openExisting()
        let name = try self.store.snapshotName(key, in: store)
        let info = try attempt { try store.stat(name) }
        // A record has no other form than a document.
        if let text = try output.text(of: info, .json) { try printResult(text) }
    }
}
