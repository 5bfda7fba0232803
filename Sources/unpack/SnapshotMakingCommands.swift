internal import ArgumentParser
internal import Kernel
internal import Mounts
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// How a command prints mounts: as one line for a shell, or as containerd's JSON.
struct MountOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Where it will be mounted; printed into the line.", valueName: "dir"),
        completion: .directory)
    var target: String?

    @Flag(help: "Print the mounts as JSON, as containerd has them.")
    var json = false

    /// Before any work: a line that cannot be printed is no surprise for the end of it.
    func check(in store: StoreOptions) throws {
        if json { return }
        let target = try target.map { try absolutePath($0, of: "--target") }
        try attempt { try MountLine.check([try store.rootPath()] + (target.map { [$0] } ?? [])) }
    }

    /// - Parameter key: the snapshot's, for a line that has this program mount it.
    /// - Throws: `.usage` for a key, a root or a target that cannot stand in a line.
    func text(of mounts: [Mount], _ key: String, in store: StoreOptions) throws -> String {
        let target = try target.map { try absolutePath($0, of: "--target") }
        if json {
            return try attempt { try ContainerdMounts(mounts, target: target).text }
        }
        let performed = try store.performedMount(of: key)
        return try attempt {
            try MountLine(
                mounts, form: .ofThisKernel, target: target, performed: try performed.words
            ).text
        }
    }
}

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

struct SnapshotPrepareCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare", abstract: "Make a snapshot that can be written to, and print how to mount it."
    )

    @OptionGroup var new: NewSnapshotOptions

    func run() throws {
        try new.make { store, labels in
            try store.prepare(new.key, parent: new.parent, labels: labels, in: try store.startRun())
        }
    }
}

struct SnapshotViewCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "view", abstract: "Make a snapshot that nobody can write to, and print how to mount it.")

    @OptionGroup var new: NewSnapshotOptions

    func run() throws {
        try new.make { store, labels in
            try store.view(new.key, parent: new.parent, labels: labels, in: try store.startRun())
        }
    }
}

struct SnapshotCommitCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit", abstract: "Turn an active snapshot into a committed one, under a new name.",
        discussion: "Labels are not taken over from the active snapshot: it has those that are given here.")

    @Argument(help: "The committed snapshot's name.")
    var name: String

    @Argument(help: "The active snapshot's key.")
    var key: String

    @Option(help: "Put it on this committed snapshot, if it was prepared without a parent.")
    var parent: String?

    @OptionGroup var labels: LabelOptions
    @OptionGroup var durability: DurabilityOptions
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @Flag(help: "Print what it is then, as JSON.")
    var json = false

    func run() throws {
        try checkKey(name)
        let labels = try labels.labels()
        let store = try self.store.openExisting()
        try attempt {
            try store.commit(key, as: name, onto: parent, labels: labels, isSynced: durability.sync == .fs)
        }
        if json { try say(try attempt { try encoded(SnapshotDocument(try store.stat(name))) }) }
    }
}

struct SnapshotRmCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove snapshots that nothing else is based on.",
        discussion: WaitOptions.discussion)

    @Argument(help: "Keys and names, removed in this order.")
    var keys: [String]

    @OptionGroup var waiting: WaitOptions
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    func run() throws {
        let store = try self.store.openExisting()
        for key in keys {
            try attempt { try store.remove(key, .begun) }
            _ = try waiting.finish(store, self.store)
        }
    }
}

/// A key stands in mount lines and other commands: there it is one word, and no option. A chain ID names what was
/// verified, and a snapshot of that name would keep the chain from being unpacked.
private func checkKey(_ key: String) throws {
    let isWord = key.split(separator: ":", omittingEmptySubsequences: false).allSatisfy {
        MountLine.isPrintable(String($0))
    }
    guard isWord, !key.hasPrefix("-") else {
        throw UnpackError(
            .usage, "'\(escaped(key.utf8))' is no name for a snapshot",
            hint: "use letters, digits and / . _ - + @ :, and no '-' in front")
    }
    if (try? Digest(parsing: key)) != nil {
        throw UnpackError(
            .usage, "'\(key)' is the name of a chain, which only an unpacked layer has",
            hint: "choose another name")
    }
}
