internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Snapshots
internal import SystemPackage
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
        guard try attempt({ try store.hasTrash() }) else { return true }
        // Whatever the first process of a container starts ends with it.
        if !wait, !Process.isFirst, (try? SweepCommand.start(options)) != nil { return false }
        try attempt { try store.emptyTrash(waits: true) }
        return true
    }
}

/// The process that deletes in the background. Nobody hears what it says: what it leaves, the next run or `prune` finds.
struct SweepCommand: ParsableCommand {
    private static let name = "sweep-store"

    static let configuration = CommandConfiguration(
        commandName: name, abstract: "Delete what was removed.", shouldDisplay: false)

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    static func start(_ store: StoreOptions) throws {
        try Process.startAgain([
            name, "--root", try store.rootPath().string, "--snapshotter", store.snapshotterName,
        ])
    }

    func run() throws { try attempt { try store.openIfExisting()?.emptyTrash(waits: false) } }
}
