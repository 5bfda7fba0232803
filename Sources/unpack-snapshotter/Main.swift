internal import ArgumentParser
internal import Programs

/// Sets up the process, as nothing else runs in it yet, and serves until it is told to stop.
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
            var command = try SnapshotterCommand.parseAsRoot(arguments)
            try Talk.check()
            // The parser's own command prints help.
            if command is SnapshotterCommand { try Program.requireProc() }
            try command.run()
        } catch {
            Program.end(SnapshotterCommand.self, with: error)
        }
    }
}
