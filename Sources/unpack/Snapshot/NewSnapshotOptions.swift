internal import ArgumentParser
internal import Mounts
internal import Programs
internal import Snapshots
internal import Unpacking

/// The arguments of the commands that create a snapshot and print its mounts.
struct NewSnapshotOptions: ParsableArguments {
    @Argument(help: "The new snapshot's key.")
    var key: String

    @Argument(help: "The committed snapshot to start from; by default the new one is empty.")
    var parent: String?

    @OptionGroup var labels: LabelOptions
    @OptionGroup var mounts: MountOptions
    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    /// Checks the arguments, creates the snapshot, and prints its mounts.
    ///
    /// - Parameter body: creates the snapshot on the parent and with the labels, and returns its mounts.
    func make(_ body: (SnapshotStore, _ parent: String?, _ labels: [String: String]) throws -> [Mount]) throws
    {
        try validateSnapshotName(key)
        try mounts.check(in: store)
        let labels = try labels.labels()
        // With a parent the store must exist already.
        let store = try parent == nil ? self.store.open() : self.store.openExisting()
        let parent = try parent.map { try self.store.snapshotName($0, in: store) }
        let made = try attempt { try body(store, parent, labels) }
        try printResult(try mounts.text(of: made, key, in: self.store))
    }
}
