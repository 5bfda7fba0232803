internal import ArgumentParser
internal import Kernel
internal import Snapshots
internal import Unpacking

/// The option to wait for the deletion of removed snapshots.
struct WaitOptions: ParsableArguments {
    @Flag(help: "Wait until everything that was removed is deleted.")
    var wait = false

    static let discussion = """
        Large trees are deleted by a background process that outlives the command. Use --wait before the store's file system \
        is unmounted, and where all processes end with the command: as the main process of a container or a service.
        """

    /// Finishes a deletion that a removal has only started. A background process does it; this process does it with
    /// `--wait`, as PID 1, or if no process can be started.
    ///
    /// - Returns: whether everything is deleted.
    func finish(_ store: SnapshotStore, _ options: StoreOptions) throws -> Bool {
        guard try attempt({ try store.hasTrash() }) else { return true }
        // All processes of a PID namespace end with its first process.
        if !wait, !Process.isInit, (try? BackgroundDeletionCommand.start(options)) != nil { return false }
        try attempt { try store.emptyTrash(waits: true) }
        return true
    }
}
