internal import ArgumentParser
internal import Programs

/// Sets up the process before any thread exists, then serves until the process is asked to stop.
@main
struct Main {
    static func main() {
        do {
            try Program.start(as: "unpack-snapshotter")
            let arguments = try Program.arguments()
            if arguments.count == 2, arguments[0] == ManualPage.request {
                let tree = try CommandTree(of: SnapshotterCommand.self)
                return try ManualPage.write(
                    ManualPage.all(of: tree, SnapshotterManual()), into: arguments[1])
            }
            let parser = CommandLineParser(
                SnapshotterCommand.self, tree: { try CommandTree(of: SnapshotterCommand.self) },
                texts: SnapshotterManual())
            guard var command = try parser.parse(arguments) else { return }
            try Log.check()
            try Program.requireProc()
            try command.run()
        } catch {
            Program.end(SnapshotterCommand.self, with: error)
        }
    }
}
