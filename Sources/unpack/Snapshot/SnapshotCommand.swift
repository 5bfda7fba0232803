internal import ArgumentParser

/// The calls of containerd's snapshotter contract, one command each.
struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Create, inspect and remove single snapshots.",
        discussion: """
            A snapshot is active (writable), a view (read-only), or committed. Only a committed snapshot can be a parent; the \
            committed layers of images are named by their chain IDs. `unpack prune` never removes a snapshot that was created \
            with these commands.
            """,
        subcommands: [
            SnapshotPrepareCommand.self, SnapshotViewCommand.self, SnapshotCommitCommand.self,
            SnapshotRmCommand.self,
            SnapshotLsCommand.self, SnapshotTreeCommand.self, SnapshotStatCommand.self,
            SnapshotUsageCommand.self,
            SnapshotMountsCommand.self, SnapshotLabelCommand.self,
        ])
}
