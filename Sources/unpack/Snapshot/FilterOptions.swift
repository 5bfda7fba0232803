internal import ArgumentParser
internal import Snapshots
internal import Unpacking

/// The options that select snapshots.
struct FilterOptions: ParsableArguments {
    @Option(
        name: .customLong("filter"),
        help: ArgumentHelp(
            "A filter in containerd's syntax, e.g. kind==active or labels.\"a/b\"==c; a comma means and, another --filter or.",
            valueName: "filter"))
    var texts: [String] = []

    func filters() throws -> [SnapshotFilter] {
        try attempt { try SnapshotFilter.parse(texts) }
    }
}
