internal import Kernel
internal import Programs
internal import Streams
internal import Unpacking

/// An unpack as the command line asks for one, with what is said meanwhile.
struct UnpackJob {
    let image: String
    let selection: SelectionOptions
    let store: StoreOptions
    let limits: LimitOptions
    let durability: DurabilityOptions
    let talk: ProgressOptions
    let writableKey: String?

    func run() throws -> UnpackResult {
        try watched { request, cancellation, progress in
            try Unpacker(
                request, cancellation: cancellation, logger: talk.talk.logger, onEvent: { progress.take($0) }
            ).run()
        }
    }

    /// Without a store.
    func write(to output: OutputPlace) throws {
        _ = try watched { request, cancellation, progress in
            switch output {
            case .directory(let path):
                try TreeOutput(
                    request, to: path, cancellation: cancellation, logger: talk.talk.logger,
                    onEvent: { progress.take($0) }
                ).run()
            case .tar(let place):
                try TarOutput(
                    request, to: place, latest: try sourceDateEpoch(), cancellation: cancellation,
                    onEvent: { progress.take($0) }
                ).run()
            }
        }
    }

    private func watched<Value>(
        _ body: (UnpackRequest, Cancellation, ProgressReport) throws -> Value
    ) throws -> Value {
        let (source, selector) = try selection.resolve(image)
        let request = UnpackRequest(
            image: source, selector: selector, root: try store.rootPath(),
            snapshotter: try store.snapshotterName,
            durability: try durability.sync, writableKey: writableKey, limits: try limits.limits(),
            jobs: try limits.jobCount())
        // Before the first thread starts. A wish to stop is heard between two entries, and leaves a clean store.
        let cancellation = Cancellation()
        try attempt { try Process.onTermination { cancellation.cancel(signal: $0) } }
        let progress = try ProgressReport(talk)
        return try progress.watch { try body(request, cancellation, progress) }
    }
}
