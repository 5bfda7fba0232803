internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotStatCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "stat", abstract: "Print what the store knows of a snapshot, as JSON.")

    @Argument(help: "Its key or name.")
    var key: String

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @Flag(help: "JSON is what it prints anyway.")
    var json = false

    func run() throws {
        let info = try attempt { try store.openExisting().stat(key) }
        try say(try attempt { try encoded(SnapshotDocument(info)) })
    }
}
