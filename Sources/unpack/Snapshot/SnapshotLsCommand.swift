internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotLsCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List snapshots, oldest first.")

    @OptionGroup var filters: FilterOptions
    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    @OptionGroup var output: SnapshotOutput

    func run() throws {
        let all = try store.snapshots(try filters.filters())
        switch output.chosen() {
        case .json: try printResult(try attempt { try encoded(all.map(SnapshotDocument.init)) })
        case .containerd: try printResult(try attempt { try encoded(all.map(ContainerdSnapshot.init)) })
        case .text:
            try printResult(
                Table(["KEY", "PARENT", "KIND"], all.map { [$0.name, $0.parent ?? "", $0.kind.title] }).text)
        }
    }
}
