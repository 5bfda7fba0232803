internal import ArgumentParser
internal import Kernel
internal import Serving
internal import Snapshots
internal import Streams
internal import SystemPackage

/// Sets up the process, as nothing else runs in it yet, and serves until it is told to stop.
@main
struct Main {
    static func main() {
        Process.reserveStandardStreams()
        Process.ignoreBrokenPipes()
        Process.takeOver()
        SnapshotterCommand.main()
    }
}

struct SnapshotterCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unpack-snapshotter", abstract: "Serve the snapshots of a store to containerd.")

    @Option var address = "/run/unpack/snapshotter.sock"
    @Option var root = "/var/lib/unpack"
    @Option var snapshotter = ["unpack=overlayfs"]

    func run() throws {
        let stopping = Promise<Int32>()
        Process.onTermination { stopping.fulfil($0) }
        let boot = try Process.bootID()
        var stores = [String: ServiceSnapshots]()
        for item in snapshotter {
            let parts = item.split(separator: "=").map(String.init)
            let store = try SnapshotStore(
                opening: FilePath(root), snapshotter: parts[1], boot: boot,
                clock: Process.nanosecondsSinceEpoch)
            stores[parts[0]] = try ServiceSnapshots(parts[0], of: store, in: try store.startRun(.begun))
        }
        let socket = try ListeningSocket.listening(at: FilePath(address))
        let calls = Calls { Console.say("\($0)\n") }
        let server = Server(on: socket, Services(SnapshotsService(stores, isSynced: true, calls)), calls)
        let ended = Promise<Bool>()
        Task {
            do { try await server.serve() } catch { Console.say("\(error)\n") }
            ended.fulfil(true)
        }
        let waiting = try WorkerThread {
            _ = stopping.wait()
            server.stop()
        }
        waiting.detach()
        _ = ended.wait()
        socket.removeName()
    }
}
