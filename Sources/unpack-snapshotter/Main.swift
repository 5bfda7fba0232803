internal import ArgumentParser
internal import Programs

/// Sets up the process, as nothing else runs in it yet, and serves until it is told to stop.
@main
struct Main {
    static func main() {
        Program.start(as: "unpack-snapshotter")
        do {
            var command = try SnapshotterCommand.parseAsRoot()
            try Talk.check()
            try command.run()
        } catch {
            Program.end(SnapshotterCommand.self, with: error)
        }
    }
}
