internal import Kernel
internal import OCI
internal import Programs
internal import Unpacking

/// Progress for programs: one JSON object per line. `docs/progress.md` documents the fields. Fields may be added, and
/// none is removed.
struct ProgressEvents: ProgressView {
    /// Minimum time between two `progressed` events of a layer.
    private static let interval = Duration.milliseconds(100)

    private var running = [
        ChainID: (start: ContinuousClock.Instant, lastReported: ContinuousClock.Instant?)
    ]()

    private struct Event: Encodable {
        let event: String
        let time = UTC(nanoseconds: Process.nanosecondsSinceEpoch()).rfc3339
        var layer: Int?
        var digest: Digest?
        var bytes: Int64?
        var size: Int64?
        var seconds: Double?
        var message: String?
        var hint: String?
        var status: Int32?
        var chainID: ChainID?
        var layers: [Layer]?

        init(_ name: String, _ step: LayerStep? = nil) {
            event = name
            layer = step?.number
            digest = step?.descriptor.digest
        }
    }

    private struct Layer: Encodable {
        let layer: Int
        let digest: Digest
        let diffID: DiffID
        let chainID: ChainID
        let size: Int64
        let cached: Bool
    }

    mutating func take(_ event: UnpackEvent) {
        switch event {
        case .receiving(let bytes):
            var line = Event("receiving")
            line.bytes = bytes
            write(line)
        case .planned(let steps, let cached):
            var line = Event("planned")
            line.layers = steps.map {
                Layer(
                    layer: $0.number, digest: $0.descriptor.digest, diffID: $0.diffID, chainID: $0.chainID,
                    size: $0.descriptor.size, cached: cached.contains($0.chainID))
            }
            line.size = steps.reduce(0) { $0 + (cached.contains($1.chainID) ? 0 : $1.descriptor.size) }
            write(line)
        case .waiting(let step): write(Event("waiting", step))
        case .started(let step):
            running[step.chainID] = (.now, nil)
            var line = Event("started", step)
            line.size = step.descriptor.size
            write(line)
        case .progressed(let step, let bytes): progress(step, bytes)
        case .warned(let step, let message):
            var line = Event("warned", step)
            line.message = message
            write(line)
        case .committed(let step): finish("committed", step)
        case .read(let step): finish("read", step)
        case .syncing: write(Event("syncing"))
        }
    }

    private mutating func finish(_ name: String, _ step: LayerStep) {
        var line = Event(name, step)
        line.size = step.descriptor.size
        line.seconds = running.removeValue(forKey: step.chainID).map { Self.seconds(since: $0.start) }
        write(line)
    }

    private mutating func progress(_ step: LayerStep, _ bytes: Int64) {
        let now = ContinuousClock.now
        if let last = running[step.chainID]?.lastReported, now - last < Self.interval { return }
        running[step.chainID]?.lastReported = now
        var line = Event("progressed", step)
        line.bytes = bytes
        line.size = step.descriptor.size
        write(line)
    }

    func end(_ outcome: Result<ChainID?, UnpackError>) {
        var line: Event
        switch outcome {
        case .success(let chain):
            line = Event("done")
            line.chainID = chain
        case .failure(let error):
            line = Event("failed")
            line.message = error.message
            line.hint = error.hint
            line.status = error.code.exitStatus
        }
        write(line)
    }

    private func write(_ event: Event) {
        guard let line = try? encoded(event) else { return }
        Log.write([line])
    }

    private static func seconds(since start: ContinuousClock.Instant) -> Double {
        // Rounded to milliseconds.
        (((ContinuousClock.now - start) / .milliseconds(1)).rounded()) / 1000
    }
}
