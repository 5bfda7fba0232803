internal import ArgumentParser
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
