internal import ArgumentParser

/// The options of a command that prints text or JSON.
struct JSONOptions: ParsableArguments {
    enum Format: String, ExpressibleByArgument, CaseIterable { case text, json }

    @Flag(help: "Print JSON: the same as --format json.")
    private var json = false

    @Option(help: ArgumentHelp("The format of the result. Default: text.", valueName: "text|json"))
    private var format: Format?

    var isJSON: Bool { json || format == .json }
}
