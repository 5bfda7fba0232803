internal import ArgumentParser
internal import Programs

/// Writes all manual pages. `make install` runs it.
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
    /// The commands of the program, with `unpack IMAGE` as the root.
    static func whole() throws -> CommandTree {
        try CommandTree(of: RootCommand.self, defaultSubcommand: UnpackCommand.hiddenName)
    }
}
