internal import ArgumentParser
internal import Snapshots

struct SnapshotViewCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "view", abstract: "Create a read-only snapshot, and print how to mount it.")

    @OptionGroup var new: NewSnapshotOptions

    func run() throws {
        try new.make { store, parent, labels in
            try store.view(new.key, parent: parent, labels: labels, in: try store.startRun())
        }
    }
}
