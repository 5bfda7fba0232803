internal import ArgumentParser
internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import Unpacking

/// Prints the history of one path through the layers of an image.
struct WhyCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "why",
        abstract: "Show which layers of an image wrote or removed a path.",
        discussion: """
            Lists every layer that has an entry for PATH, or that hides or replaces one of its parent directories, lowest \
            first, and then the result. For a directory, the history is its own, not that of its content. For an image in the \
            store, its snapshots are compared: it lists the layers that made a difference.

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
        let (history, config) = try read()
        if history.isEmpty {
            throw UnpackError(.notFound, "no layer of the image has '\(history.absolutePath)'")
        }
        let report = HistoryReport(history, of: config)
        try printResult(output.isJSON ? try attempt { try encoded(report.document) } : report.text)
    }

    /// Snapshots are mounted to be read, which needs a namespace; an image is read without one.
    var needsNamespace: Bool { store.canOnlyBeStored(image) }

    private func read() throws -> (PathHistory, ImageConfig) {
        guard let (name, store) = try store.storedIfMeant(image) else {
            let opened = try store.opening(image) { try selection.open(image) }
            return try inspect(verbosity) { inspector, _ in
                (try inspector.history(of: unescaped(path), in: opened), opened.image.config)
            }
        }
        try selection.refuseForStoredImage()
        guard case .image(let record) = name else {
            throw UnpackError(
                .usage, "'\(escaped(image.utf8))' is a snapshot, and layers are those of an image",
                hint: "name an image; 'unpack images' lists them")
        }
        let stored = try Image(record, in: store)
        return try inspect(verbosity) { inspector, _ in
            (try inspector.history(of: unescaped(path), in: stored, store), stored.config)
        }
    }
}
