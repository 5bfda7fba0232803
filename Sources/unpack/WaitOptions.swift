internal import ArgumentParser
internal import Kernel
internal import Snapshots
internal import Unpacking

/// Whether a command that removes waits until the trees are deleted.
struct WaitOptions: ParsableArguments {
    @Flag(help: "Wait until all that was removed is deleted.")
    var wait = false

    static let discussion = """
        What is large is deleted in the background, by a process that goes on when this one has ended. Use --wait before \
        the store's file system is unmounted, and where all processes are killed with this one: as the main process of \
        a container or a service.
        """

    /// Has deleted what a removal has only begun with: by another process, or here where that cannot be.
    ///
    /// - Returns: whether all is deleted.
    func finish(_ store: SnapshotStore, _ options: StoreOptions) throws -> Bool {
        guard try attempt({ try store.hasRemovals() }) else { return true }
        // Whatever the first process of a container starts ends with it.
        if !wait, !Process.isFirst, (try? SweepCommand.start(options)) != nil { return false }
        try attempt { try store.sweep(waits: true) }
        return true
    }
}
