internal import ArgumentParser
internal import OCI
internal import Programs
internal import Unpacking

/// Prints the history of one path through the layers of an image.
struct WhyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "why",
        abstract: "Show which layers of an image wrote or removed a path.",
        discussion: """
            Lists every layer that has an entry for PATH, or that hides or replaces one of its parent directories, lowest \
            first, and then the result. For a directory, the history is its own, not that of its content.

            \(pathDiscussion)
            """)

    @Argument(help: imageHelp)
    var image: String

    @Argument(help: "The path; it may have been removed by a layer.")
    var path: String

    @OptionGroup var output: JSONOptions

    @OptionGroup(title: "Which image") var selection: SelectionOptions
    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var verbosity: LogOptions

    func run() throws {
        if try store.storedIfMeant(image) != nil {
            throw UnpackError(
                .usage,
                "the history of a path is in the layers of an image, and the store has only the files in them",
                hint: "name the image's layout or archive")
        }
        let opened = try selection.open(image)
        let history = try inspect(verbosity) { inspector, _ in
            try inspector.history(of: unescaped(path), in: opened)
        }
        if history.isEmpty {
            throw UnpackError(.notFound, "no layer of the image has '\(history.absolutePath)'")
        }
        let report = HistoryReport(history, of: opened.image.config)
        try printResult(output.isJSON ? try attempt { try encoded(report.document) } : report.text)
    }
}
