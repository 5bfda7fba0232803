internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Snapshots
internal import Unpacking

struct SnapshotLabelCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "label", abstract: "Show or change the labels of a snapshot.")

    @Argument(help: "The snapshot's key or name.")
    var key: String

    @Argument(help: ArgumentHelp("Labels to set; an empty value removes the label.", valueName: "key=value"))
    var labels: [String] = []

    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    @OptionGroup var output: JSONOptions

    func run() throws {
        let changes = try LabelOptions.parse(labels)
        let store = try self.store.openExisting()
        let key = try self.store.snapshotName(key, in: store)
        let info = try attempt {
            changes.isEmpty
                ? try store.stat(key)
                : try store.update(key, labels: changes, fields: changes.keys.sorted().map { "labels.\($0)" })
        }
        if output.isJSON { return try printResult(try attempt { try encoded(info.labels) }) }
        let lines = info.labels.sorted { $0.key < $1.key }.map {
            "\(escaped($0.key.utf8))=\(escaped($0.value.utf8))"
        }
        if !lines.isEmpty { try printResult(lines.joined(separator: "\n")) }
    }
}
