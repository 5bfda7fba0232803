internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotCommitCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit", abstract: "Commit an active snapshot under a new name.",
        discussion:
            "The committed snapshot has the labels that are given here, and none of the active snapshot's.")

    @Argument(help: "The committed snapshot's name.")
    var name: String

    @Argument(help: "The active snapshot's key.")
    var key: String

    @Option(help: "The committed snapshot to use as parent, if the active one was prepared without a parent.")
    var parent: String?

    @OptionGroup var labels: LabelOptions
    @OptionGroup(title: "Store") var durability: DurabilityOptions
    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    @OptionGroup var output: SnapshotOutput

    func run() throws {
        try validateSnapshotName(name)
        let labels = try labels.labels()
        let store = try self.store.openExisting()
        let parent = try parent.map { try self.store.snapshotName($0, in: store) }
        try attempt {
            try store.commit(key, as: name, onto: parent, labels: labels, isSynced: durability.sync == .fs)
        }
        if output.chosen() == .text { return }
        let info = try attempt { try store.stat(name) }
        if let text = try output.text(of: info) { try printResult(text) }
    }
}
