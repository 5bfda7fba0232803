internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotLsCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List snapshots, oldest first.")

    @OptionGroup var filters: FilterOptions
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogFormatOption

    @Flag(help: "Print one JSON document.")
    var json = false

    func run() throws {
        let all = try store.snapshots(try filters.filters())
        if json { return try printResult(try attempt { try encoded(all.map(SnapshotDocument.init)) }) }
        try printResult(
            Table(["KEY", "PARENT", "KIND"], all.map { [$0.name, $0.parent ?? "", $0.kind.title] }).text)
    }
}
