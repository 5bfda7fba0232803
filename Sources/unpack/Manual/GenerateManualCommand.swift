internal import ArgumentParser
internal import Kernel
internal import SystemPackage
internal import Unpacking

/// Writes all manual pages; `make install` calls it.
struct GenerateManualCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate-manual", abstract: "Write the manual pages into a directory.",
        shouldDisplay: false)

    @Argument(help: "The directory. It must exist.")
    var directory: String

    func run() throws {
        try attempt {
            let pages = ManualPage.all(of: try CommandTree.whole()) + [ManualPage.configuration]
            for page in pages {
                let path = FilePath(directory).appending(page.fileName)
                let file = try File.open(path, .readWriteCreate, mode: 0o644)
                try file.truncate(to: 0)
                try Array(page.text.utf8).withRawSpan { try file.write($0) }
            }
        }
    }
}
