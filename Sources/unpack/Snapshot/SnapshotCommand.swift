internal import ArgumentParser

/// The whole snapshotter contract, a call a command.
struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Make, look at and remove single snapshots of the store.",
        discussion: """
            A snapshot is active (it can be written to), a view (it cannot), or committed. Only a committed one can be \
            another's parent; committed layers of images are named by their chain IDs. What is made here stays until it \
            is removed: `unpack prune` leaves it alone.
            """,
        subcommands: [
            SnapshotPrepareCommand.self, SnapshotViewCommand.self, SnapshotCommitCommand.self,
            SnapshotRmCommand.self,
            SnapshotLsCommand.self, SnapshotTreeCommand.self, SnapshotStatCommand.self,
            SnapshotUsageCommand.self,
            SnapshotMountsCommand.self, SnapshotLabelCommand.self,
        ])
}
