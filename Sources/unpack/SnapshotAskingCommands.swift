internal import ArgumentParser
internal import Kernel
internal import Mounts
internal import Programs
internal import Snapshots
internal import Unpacking

/// Which snapshots.
struct FilterOptions: ParsableArguments {
    @Option(
        name: .customLong("filter"),
        help: ArgumentHelp(
            "containerd's filters, e.g. kind==active or labels.\"a/b\"==c; a comma is and, a second --filter or.",
            valueName: "filter"))
    var texts: [String] = []

    func filters() throws -> [SnapshotFilter] {
        try attempt { try SnapshotFilter.parse(texts) }
    }
}

struct SnapshotLsCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List snapshots, oldest first.")

    @OptionGroup var filters: FilterOptions
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    func run() throws {
        let all = try store.snapshots(try filters.filters())
        if json { return try say(try attempt { try encoded(all.map(SnapshotDocument.init)) }) }
        try say(
            Table(["KEY", "PARENT", "KIND"], all.map { [$0.name, $0.parent ?? "", $0.kind.title] }).text)
    }
}

struct SnapshotTreeCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "tree", abstract: "Show which snapshot is based on which.")

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    /// One snapshot, at its place in the tree.
    private struct Node: Encodable {
        let name: String
        let kind: String
        let parent: String?
        /// 0 for one without a parent.
        let level: Int
    }

    func run() throws {
        let all = try store.snapshots([])
        let children = Dictionary(grouping: all) { $0.parent ?? "" }
        var nodes = [Node]()
        // Without recursion: a chain of layers may be long.
        var pending = (children[""] ?? []).reversed().map { (snapshot: $0, level: 0) }
        while let (snapshot, level) = pending.popLast() {
            nodes.append(
                Node(name: snapshot.name, kind: snapshot.kind.title, parent: snapshot.parent, level: level))
            pending += (children[snapshot.name] ?? []).reversed().map { ($0, level + 1) }
        }
        if json { return try say(try attempt { try encoded(nodes) }) }
        let lines = nodes.map { node in
            (node.level > 0 ? String(repeating: "  ", count: node.level) + "\\_ " : "")
                + escaped(node.name.utf8)
        }
        if !lines.isEmpty { try say(lines.joined(separator: "\n")) }
    }
}

struct SnapshotStatCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "stat", abstract: "Print what the store knows of a snapshot, as JSON.")

    @Argument(help: "Its key or name.")
    var key: String

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @Flag(help: "JSON is what it prints anyway.")
    var json = false

    func run() throws {
        let info = try attempt { try store.openExisting().stat(key) }
        try say(try attempt { try encoded(SnapshotDocument(info)) })
    }
}

struct SnapshotUsageCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "Show how much snapshots take, without their parents.")

    @Argument(help: "Keys and names. Without one every snapshot.")
    var keys: [String] = []

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @Flag(name: .customShort("b"), help: "Print bytes.")
    var bytes = false

    @Flag(help: "Print one JSON document.")
    var json = false

    private struct Document: Encodable {
        let key: String
        let size: Int64
        let inodes: Int64
    }

    func run() throws {
        let all = keys.isEmpty ? try store.snapshots([]).map(\.name) : keys
        var usages = [Document]()
        if !all.isEmpty {
            let store = try self.store.openExisting()
            for key in all {
                // Of all that there are, some may go meanwhile.
                let usage = try attempt {
                    try keys.isEmpty ? store.usageIfPresent(of: key) : store.usage(of: key)
                }
                guard let usage else { continue }
                usages.append(Document(key: key, size: usage.size, inodes: usage.inodes))
            }
        }
        if json { return try say(try attempt { try encoded(usages) }) }
        let rows = usages.map { [$0.key, bytes ? "\($0.size)" : binarySize($0.size), "\($0.inodes)"] }
        try say(Table(["KEY", "SIZE", "INODES"], rows).text)
    }
}

struct SnapshotMountsCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "mounts", abstract: "Print how an active snapshot or a view is mounted.")

    @Argument(help: "Its key.")
    var key: String

    @OptionGroup var mounts: MountOptions
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    func run() throws {
        let found = try attempt { try store.openExisting().mounts(of: key) }
        try say(try mounts.text(of: found, key, in: store))
    }
}

struct SnapshotLabelCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "label", abstract: "Show or change the labels of a snapshot.")

    @Argument(help: "Its key or name.")
    var key: String

    @Argument(help: ArgumentHelp("Labels to set; one without a value goes.", valueName: "key=value"))
    var labels: [String] = []

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    func run() throws {
        let changes = try LabelOptions.parse(labels)
        let store = try self.store.openExisting()
        let info = try attempt {
            changes.isEmpty
                ? try store.stat(key)
                : try store.update(key, labels: changes, fields: changes.keys.sorted().map { "labels.\($0)" })
        }
        if json { return try say(try attempt { try encoded(info.labels) }) }
        let lines = info.labels.sorted { $0.key < $1.key }.map {
            "\(escaped($0.key.utf8))=\(escaped($0.value.utf8))"
        }
        if !lines.isEmpty { try say(lines.joined(separator: "\n")) }
    }
}

/// A snapshot in JSON, as containerd writes one (`ctr snapshots info`).
struct SnapshotDocument: Encodable {
    let kind: String
    let name: String
    let parent: String?
    let labels: [String: String]?
    let created: String
    let updated: String

    private enum CodingKeys: String, CodingKey {
        case kind = "Kind"
        case name = "Name"
        case parent = "Parent"
        case labels = "Labels"
        case created = "Created"
        case updated = "Updated"
    }

    init(_ info: SnapshotInfo) {
        kind = info.kind.title
        name = info.name
        parent = info.parent
        labels = info.labels.isEmpty ? nil : info.labels
        created = timestamp(info.created)
        updated = timestamp(info.updated)
    }
}

extension SnapshotInfo.Kind {
    /// As containerd writes it.
    fileprivate var title: String {
        switch self {
        case .view: "View"
        case .active: "Active"
        case .committed: "Committed"
        }
    }
}
