internal import ArgumentParser
internal import Programs

/// Writes all manual pages; `make install` calls it.
struct GenerateManualCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: ManualPage.request, abstract: "Write the manual pages into a directory.",
        shouldDisplay: false)

    @Argument(help: "The directory. It must exist.")
    var directory: String

    func run() throws {
        let pages = ManualPage.all(of: try CommandTree.whole(), UnpackManual()) + [ManualPage.configuration]
        try ManualPage.write(pages, into: directory)
    }
}

extension CommandTree {
    /// The main job, which has no name of its own, and the commands beside it.
    static func whole() throws -> CommandTree {
        try CommandTree(of: RootCommand.self, mainJob: UnpackCommand.hiddenName)
    }
}
