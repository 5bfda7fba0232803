internal import ArgumentParser
internal import Programs
internal import Snapshots
internal import Unpacking

/// The options of a command that prints snapshots or their mounts: as text, as JSON, or as containerd's `ctr` does.
struct SnapshotOutput: ParsableArguments {
    enum Format: String, ExpressibleByArgument, CaseIterable { case text, json, containerd }

    @Flag(help: "Print JSON: the same as --format json.")
    private var json = false

    @Option(
        help: ArgumentHelp(
            "The format of the result; containerd is that of ctr. Default: text.",
            valueName: "text|json|containerd"))
    private var format: Format?

    /// - Parameter fallback: without the options.
    func chosen(_ fallback: Format = .text) -> Format { format ?? (json ? .json : fallback) }

    /// The text of one snapshot; nil if it is not to be printed as a document.
    func text(of info: SnapshotInfo, _ fallback: Format = .text) throws -> String? {
        switch chosen(fallback) {
        case .text: nil
        case .json: try attempt { try encoded(SnapshotDocument(info)) }
        case .containerd: try attempt { try encoded(ContainerdSnapshot(info)) }
        }
    }
}
