internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotTreeCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "tree", abstract: "Show the snapshots as a tree of parents and children.")

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogFormatOption

    @Flag(help: "Print one JSON document.")
    var json = false

    /// A snapshot in the tree.
    private struct Node: Encodable {
        let name: String
        let kind: String
        let parent: String?
        /// Depth in the tree; 0 for a snapshot without a parent.
        let level: Int
    }

    func run() throws {
        let all = try store.snapshots([])
        let children = Dictionary(grouping: all, by: \.parentID)
        var nodes = [Node]()
        // Not recursive, because a chain of layers has any length.
        var pending = (children[nil] ?? []).reversed().map { (snapshot: $0, level: 0) }
        while let (snapshot, level) = pending.popLast() {
            nodes.append(
                Node(name: snapshot.name, kind: snapshot.kind.title, parent: snapshot.parent, level: level))
            pending += (children[snapshot.id] ?? []).reversed().map { ($0, level + 1) }
        }
        if json { return try printResult(try attempt { try encoded(nodes) }) }
        let lines = nodes.map { node in
            (node.level > 0 ? String(repeating: "  ", count: node.level) + "\\_ " : "")
                + escaped(node.name.utf8)
        }
        if !lines.isEmpty { try printResult(lines.joined(separator: "\n")) }
    }
}
