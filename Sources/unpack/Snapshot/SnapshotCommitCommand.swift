internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotCommitCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit", abstract: "Turn an active snapshot into a committed one, under a new name.",
        discussion: "Labels are not taken over from the active snapshot: it has those that are given here.")

    @Argument(help: "The committed snapshot's name.")
    var name: String

    @Argument(help: "The active snapshot's key.")
    var key: String

    @Option(help: "Put it on this committed snapshot, if it was prepared without a parent.")
    var parent: String?

    @OptionGroup var labels: LabelOptions
    @OptionGroup var durability: DurabilityOptions
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @Flag(help: "Print what it is then, as JSON.")
    var json = false

    func run() throws {
        try checkKey(name)
        let labels = try labels.labels()
        let store = try self.store.openExisting()
        try attempt {
            try store.commit(key, as: name, onto: parent, labels: labels, isSynced: durability.sync == .fs)
        }
        if json { try say(try attempt { try encoded(SnapshotDocument(try store.stat(name))) }) }
    }
}
