internal import ArgumentParser
internal import Snapshots

struct SnapshotPrepareCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare", abstract: "Create a writable snapshot, and print how to mount it.")

    @OptionGroup var new: NewSnapshotOptions

    func run() throws {
        try new.make { store, parent, labels in
            try store.prepare(new.key, parent: parent, labels: labels, in: try store.startRun())
        }
    }
}
