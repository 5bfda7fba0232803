internal import ArgumentParser
internal import Kernel
internal import Unpacking

/// The labels of a new snapshot.
struct LabelOptions: ParsableArguments {
    @Option(
        name: .customLong("label"),
        help: ArgumentHelp("A label; the option can be repeated.", valueName: "key=value"))
    var texts: [String] = []

    func labels() throws -> [String: String] { try Self.parse(texts) }

    /// Parses `KEY=VALUE` texts. The last value of a key applies. An empty value removes the label.
    ///
    /// - Throws: `.usage`.
    static func parse(_ texts: [String]) throws -> [String: String] {
        var labels = [String: String]()
        for text in texts {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw UnpackError(
                    .usage, "'\(escaped(text.utf8))' is not a label", hint: "write it as KEY=VALUE")
            }
            labels[String(parts[0])] = String(parts[1])
        }
        return labels
    }
}
