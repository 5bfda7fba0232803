internal import ArgumentParser
internal import Kernel
internal import Unpacking

/// Labels, as options have them.
struct LabelOptions: ParsableArguments {
    @Option(
        name: .customLong("label"),
        help: ArgumentHelp("A label. Give it again for more.", valueName: "key=value"))
    var texts: [String] = []

    func labels() throws -> [String: String] { try Self.parse(texts) }

    /// The last one of a key wins. An empty value is a label that is to go.
    static func parse(_ texts: [String]) throws -> [String: String] {
        var labels = [String: String]()
        for text in texts {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw UnpackError(
                    .usage, "'\(escaped(text.utf8))' is no label", hint: "write it as KEY=VALUE")
            }
            labels[String(parts[0])] = String(parts[1])
        }
        return labels
    }
}
