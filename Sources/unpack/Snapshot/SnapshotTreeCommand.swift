internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Snapshots
internal import Unpacking

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
