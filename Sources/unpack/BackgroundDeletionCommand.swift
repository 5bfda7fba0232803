internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// Deletes removed snapshots in a background process, without output. If it is killed, the next run or `prune` deletes
/// the rest.
struct BackgroundDeletionCommand: ParsableCommand {
    private static let name = "sweep-store"

    static let configuration = CommandConfiguration(
        commandName: name, abstract: "Delete what was removed.", shouldDisplay: false)

    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    /// Starts the process for a store, and does not wait for it.
    static func start(_ store: StoreOptions) throws {
        try Process.startDetached([
            name, "--root", try store.rootPath().string, "--snapshotter", store.snapshotterName,
        ])
    }

    func run() throws { try attempt { try store.openIfExisting()?.emptyTrash(waits: false) } }
}
