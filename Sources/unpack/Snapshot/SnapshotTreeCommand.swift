internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotTreeCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "tree", abstract: "Show the snapshots as a tree of parents and children.")

    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    @OptionGroup var output: JSONOptions

    /// A snapshot in the tree.
    private struct Node: Encodable {
        let key: String
        let kind: String
        let parent: String?
        /// Depth in the tree; 0 for a snapshot without a parent.
        let depth: Int
    }

    func run() throws {
        let all = try store.snapshots([])
        let children = Dictionary(grouping: all, by: \.parentID)
        var nodes = [Node]()
        // Not recursive, because a chain of layers has any length.
        var pending = (children[nil] ?? []).reversed().map { (snapshot: $0, level: 0) }
        while let (snapshot, level) = pending.popLast() {
            nodes.append(
                Node(key: snapshot.name, kind: snapshot.kind.rawValue, parent: snapshot.parent, depth: level))
            pending += (children[snapshot.id] ?? []).reversed().map { ($0, level + 1) }
        }
        if output.isJSON { return try printResult(try attempt { try encoded(nodes) }) }
        let lines = nodes.map { node in
            (node.depth > 0 ? String(repeating: "  ", count: node.depth) + "\\_ " : "")
                + escaped(node.key.utf8)
        }
        if !lines.isEmpty { try printResult(lines.joined(separator: "\n")) }
    }
}
