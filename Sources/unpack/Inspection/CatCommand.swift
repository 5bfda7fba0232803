internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Unpacking

/// Prints a file of an image.
struct CatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cat",
        abstract: "Write a file of an image to stdout.",
        discussion: """
            Reads and verifies every layer, and the one with the content once more while it is written; needs neither root \
            nor a store. If the exit status is not 0, the content is not complete or not verified. Symlinks are followed \
            inside the image.
            """)

    @Argument(help: imageHelp, completion: .file())
    var image: String

    @Argument(help: "The path of a regular file in the image.")
    var path: String

    @OptionGroup(title: "Which image") var selection: SelectionOptions
    @OptionGroup(title: "Messages") var verbosity: LogOptions

    func run() throws {
        try copying(selection.choice(image), verbosity) { copy in
            let output = try OutputFile.standardOutput()
            try copy.writeContent(of: unescaped(path), typed: path) { try output.write($0) }
        }
    }
}

/// Reads an image, and calls `body` to copy from it, with progress on a terminal.
func copying<Value>(
    _ choice: ImageChoice, _ verbosity: LogOptions, _ body: (ImageCopy) throws -> Value
) throws -> Value {
    let cancellation = Cancellation()
    try Program.onTermination { cancellation.cancel(signal: $0) }
    let progress = ProgressReport(verbosity)
    return try progress.watch {
        try attempt {
            let opened = try OpenedImage(choice)
            return try body(ImageCopy(opened, cancellation: cancellation, onEvent: { progress.take($0) }))
        }
    }
}
