internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotStatCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "stat", abstract: "Print the record of a snapshot as JSON.")

    @Argument(help: "The snapshot's key or name.")
    var key: String

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogFormatOption

    @Flag(help: "Accepted for consistency: the output is always JSON.")
    var json = false

    func run() throws {
        let info = try attempt { try store.openExisting().stat(key) }
        try printResult(try attempt { try encoded(SnapshotDocument(info)) })
    }
}
