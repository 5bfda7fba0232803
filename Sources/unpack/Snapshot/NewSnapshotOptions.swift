internal import ArgumentParser
internal import Mounts
internal import Programs
internal import Snapshots
internal import Unpacking

/// A snapshot that is to be made, and how it is told of.
struct NewSnapshotOptions: ParsableArguments {
    @Argument(help: "The new snapshot's key.")
    var key: String

    @Argument(help: "The committed snapshot that it begins as. Without one it is empty.")
    var parent: String?

    @OptionGroup var labels: LabelOptions
    @OptionGroup var mounts: MountOptions
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    func make(_ body: (SnapshotStore, [String: String]) throws -> [Mount]) throws {
        try checkKey(key)
        try mounts.check(in: store)
        let labels = try labels.labels()
        // A parent cannot be in a store that is not there.
        let store = try parent == nil ? self.store.open() : self.store.openExisting()
        let made = try attempt { try body(store, labels) }
        try say(try mounts.text(of: made, key, in: self.store))
    }
}
