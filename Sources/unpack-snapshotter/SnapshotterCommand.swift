internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Serving
internal import Snapshots
internal import Streams
internal import SystemPackage
internal import Unpacking

struct SnapshotterCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unpack-snapshotter",
        abstract: "Serve the snapshots of a store to containerd, and apply its layers.",
        discussion: """
            containerd uses it as a proxy plugin: [proxy_plugins.NAME] with type = "snapshot" and this address for snapshots, \
            and one with type = "diff" for layers. If systemd passes a socket, the server listens on that one.
            """,
        version: Version.text)

    @Option(
        help: ArgumentHelp("The socket to listen on; mode 0600.", valueName: "socket"), completion: .file())
    var address = "/run/unpack/snapshotter.sock"

    @Option(
        help: ArgumentHelp(
            "A snapshotter to serve: its name in containerd's configuration, and the kind of its snapshots, one of "
                + SnapshotStore.supported.joined(separator: ", ")
                + ". May be given several times. Default: unpack, of the kind that $\(Settings.snapshotter.variable) sets, else "
                + "\(Settings.defaultSnapshotter).",
            valueName: "name=kind"))
    var snapshotter = [SnapshotterChoice]()

    @OptionGroup(title: "Store") var store: RootOptions
    @OptionGroup(title: "Store") var pool: PoolOptions

    @Option(
        help: ArgumentHelp("containerd's own socket, through which layers are read.", valueName: "socket"),
        completion: .file())
    var containerd = "/run/containerd/containerd.sock"

    @Option(
        help: ArgumentHelp(
            "The directory of containerd's content store: layers that are there are read as files.",
            valueName: "dir"),
        completion: .directory)
    var content = "/var/lib/containerd/io.containerd.content.v1.content"

    @Option(
        name: .customLong("sync"),
        help: Settings.sync.help(
            "fs: layers are on the disk before Apply returns. none: they are written asynchronously.",
            valueName: "fs|none"),
        completion: .list(UnpackRequest.Durability.allCases.map(\.rawValue)))
    var syncText: String?

    @OptionGroup(title: "Messages") var log: LogOptions

    func run() throws {
        let isSynced = try Settings.sync.resolve(syncText) == .fs
        let root = try store.rootPath()
        let contentStore = ContentStore(
            socket: try absolutePath(containerd, of: "--containerd"),
            folder: try absolutePath(content, of: "--content"))
        // Before the first thread exists: threads inherit the signal mask, which blocks these signals.
        let stopping = Promise<Int32>()
        try Program.onTermination { stopping.fulfil($0) }

        // NIO and Swift's runtime create threads later: if one is refused then, the process ends without a message, or
        // hangs.
        try attempt { try WorkerThread.require(CallRunner.neededThreads) }
        let calls = CallRunner(report: CallLogger(log).log)
        let choices =
            snapshotter.isEmpty
            ? [SnapshotterChoice(name: "unpack", kind: try Settings.snapshotter.resolve())] : snapshotter
        let opened = try openStores(root, choices)
        let stores = opened.mapValues(\.service)
        let socket = try listen()
        let snapshots = SnapshotsService(stores, isSynced: isSynced, calls)
        for (name, suspects) in try attempt({ try snapshots.resume() }) { warn(of: suspects, name) }
        let diffs = DiffService(
            contentStore, protecting: opened.values.map(\.store), isSynced: isSynced, calls)
        let server = Server(
            on: socket, Services(snapshots, diffs), calls)
        let names = choices.map(\.description).joined(separator: ", ")
        try serve(server, socket, stopping) {
            if !log.quiet { Log.print("serving \(names) at \(address)") }
        }
    }

    private func warn(of suspects: [String], _ snapshotter: String) {
        let list = suspects.map { "'\(escaped($0.utf8))'" }.joined(separator: ", ")
        let hint = "remove the images that they belong to with 'ctr image rm', and pull them again"
        let message =
            "\(suspects.count) snapshots of \(snapshotter) were not on the disk when the machine stopped: files in them may "
            + "be empty or missing: \(list)"
        Log.print(
            LogLine(level: .warning, message: message, hint: hint),
            lines: ["\(Program.name): \(message)", "hint: \(hint)"])
    }

    private func openStores(
        _ root: FilePath, _ choices: [SnapshotterChoice]
    ) throws -> [String: (store: SnapshotStore, service: ServiceSnapshots)] {
        let boot = try bootID()
        var stores = [String: (store: SnapshotStore, service: ServiceSnapshots)]()
        for choice in choices {
            if stores[choice.name] != nil {
                throw UnpackError(
                    .usage, "--snapshotter names '\(choice.name)' twice", hint: "give each a name of its own")
            }
            let settings =
                choice.kind == SnapshotStore.thinDevices
                ? try pool.settings(for: choice.kind) : BackendSettings()
            stores[choice.name] = try attempt {
                let store = try SnapshotStore(
                    opening: root, snapshotter: choice.kind, boot: boot, settings: settings,
                    clock: Process.nanosecondsSinceEpoch)
                // A file system that cannot hold layers is reported at the start, not by the first container.
                _ = try store.whiteoutForm()
                return (store, try ServiceSnapshots(choice.name, of: store, in: try store.startRun(.started)))
            }
        }
        return stores
    }

    private func listen() throws -> ListeningSocket {
        let path = try absoluteNotFollowing(address, of: "--address")
        do throws(ListeningSocket.Failure) {
            if let inherited = try ListeningSocket.inherited(environment) { return inherited }
            let folder = path.removingLastComponent()
            _ = try? Directory.makingPath(folder, mode: 0o700)
            return try ListeningSocket.listening(at: path)
        } catch {
            throw UnpackError(error, at: path)
        }
    }

    /// Serves on other threads while this thread waits.
    private func serve(
        _ server: Server, _ socket: ListeningSocket, _ stopping: Promise<Int32>, whenReady: () -> Void
    ) throws {
        let manager = ServiceManager(address: environment("NOTIFY_SOCKET"))
        let ended = Promise<Result<Void, any Error>>()
        Task {
            do {
                try await server.serve()
                ended.fulfil(.success(()))
            } catch {
                ended.fulfil(.failure(error))
            }
        }
        try WorkerThread {
            _ = stopping.wait()
            manager.notify(.stopping)
            // A new client finds the next server, or none.
            socket.removeName()
            server.stop()
        }.detach()
        whenReady()
        manager.notify(.ready)
        try ended.wait().get()
    }
}

/// The argument of `--snapshotter`: `NAME=KIND`, or a kind alone with the name `unpack`.
struct SnapshotterChoice: ExpressibleByArgument, CustomStringConvertible {
    let name: String
    let kind: String

    init(name: String, kind: String) {
        self.name = name
        self.kind = kind
    }

    init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        name = parts.count > 1 ? String(parts[0]) : "unpack"
        kind = String(parts[parts.count - 1])
    }

    var description: String { "\(name)=\(kind)" }
}
