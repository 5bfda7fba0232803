internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

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

    func run() throws { try attempt { try store.openIfExisting()?.sweep(waits: false) } }
}
