internal import Kernel
internal import Programs
internal import Snapshots
internal import Unpacking

/// An unpack with the options of the command line. It shows progress, and SIGINT and SIGTERM cancel it.
struct UnpackJob {
    let image: String
    let selection: SelectionOptions
    let store: StoreOptions
    let limits: LimitOptions
    let durability: DurabilityOptions
    let progressOptions: ProgressOptions
    let writableKey: String?
    var bundle: BundleDirectory?

    func run() throws -> UnpackResult {
        try watched { request, cancellation, progress in
            try Unpacker(
                request, cancellation: cancellation, logger: progressOptions.verbosity.logger,
                onEvent: { progress.take($0) }
            ).run()
        }
    }

    /// Unpacks to a directory or a tar, without a store.
    func write(to output: OutputDestination) throws {
        _ = try watched { request, cancellation, progress in
            switch output {
            case .directory(let path):
                try TreeOutput(
                    request, to: path, cancellation: cancellation, logger: progressOptions.verbosity.logger,
                    onEvent: { progress.take($0) }
                ).run()
            case .tar(let destination):
                try TarOutput(
                    request, to: destination, latest: try sourceDateEpoch(), cancellation: cancellation,
                    onEvent: { progress.take($0) }
                ).run()
            }
        }
    }

    private func watched<Value>(
        _ body: (UnpackRequest, Cancellation, ProgressReport) throws -> Value
    ) throws -> Value {
        let choice = try selection.choice(image)
        let request = UnpackRequest(
            image: choice.source, selector: choice.selector, root: try store.rootPath(),
            snapshotter: try store.snapshotterName, backend: try store.backendSettings(),
            durability: try durability.sync, writableKey: writableKey, bundle: bundle,
            limits: try limits.limits(),
            jobs: try limits.jobCount())
        // Set up before the first thread starts (`Program.onTermination`). A cancelled run leaves a clean store.
        let cancellation = Cancellation()
        try Program.onTermination { cancellation.cancel(signal: $0) }
        let progress = try ProgressReport(progressOptions)
        return try progress.watch { try body(request, cancellation, progress) }
    }
}
