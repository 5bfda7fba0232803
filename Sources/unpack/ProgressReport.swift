internal import ArgumentParser
internal import Kernel
internal import OCI
internal import Programs
internal import Unpacking

/// The options for progress and messages on stderr.
struct ProgressOptions: ParsableArguments {
    @Option(
        name: .customLong("progress"),
        help: Settings.progress.help(
            """
            Progress on stderr: bars on a terminal and lines elsewhere (auto), one line per layer (plain), one JSON event \
            per line (json), or only warnings (none).
            """, valueName: "auto|plain|json|none"),
        completion: .list(ProgressStyle.allCases.map(\.rawValue)))
    var style: String?

    @OptionGroup(title: "Messages") var verbosity: LogOptions

    fileprivate func view() throws -> any ProgressView {
        let style = try Settings.progress.resolve(style)
        if verbosity.quiet { return NoProgress(showsWarnings: false) }
        switch style {
        case .none: return NoProgress(showsWarnings: true)
        case .json: return ProgressEvents()
        case .plain: return ProgressLines()
        case .auto: return Self.isInteractive ? ProgressBars() : ProgressLines()
        }
    }

    /// Whether stderr is a terminal that can draw bars, and messages are text.
    fileprivate static var isInteractive: Bool {
        guard Console.errorIsTerminal, Console.errorTerminalIsOurs, Log.format == .text else { return false }
        // NO_COLOR: https://no-color.org. CI: some CI services give a job a terminal whose output is only logged.
        return ["NO_COLOR", "CI"].allSatisfy { environment($0) == nil }
            && environment("TERM") ?? "dumb" != "dumb"
    }
}

/// A way to show progress. Its methods are called by one thread at a time.
protocol ProgressView: Sendable {
    mutating func take(_ event: UnpackEvent)
    mutating func end(_ outcome: Result<ChainID?, UnpackError>)
}

/// Shows progress while an image is unpacked or inspected. Events may come from several threads.
final class ProgressReport: Sendable {
    private let view: Locked<any ProgressView>

    init(_ options: ProgressOptions) throws { view = Locked(try options.view()) }

    /// For inspection commands: bars on a terminal, and warnings.
    init(_ verbosity: LogOptions) {
        view = Locked(
            !verbosity.quiet && ProgressOptions.isInteractive
                ? ProgressBars() : NoProgress(showsWarnings: !verbosity.quiet))
    }

    func take(_ event: UnpackEvent) { view.withLock { $0.take(event) } }

    /// Runs work, reports its outcome, and removes the bars from the terminal.
    func watch<Value>(_ body: () throws -> Value) throws -> Value {
        let outcome = Result(catching: body)
        view.withLock { view in
            switch outcome {
            case .success(let value): view.end(.success((value as? any UnpackedImage)?.chainID))
            case .failure(let error as UnpackError): view.end(.failure(error))
            // ExitCode and CleanExit: the command ends with a status of its own.
            case .failure: view.end(.success(nil))
            }
        }
        return try outcome.get()
    }
}

/// No progress: warnings only, or nothing.
struct NoProgress: ProgressView {
    let showsWarnings: Bool

    func take(_ event: UnpackEvent) {
        if showsWarnings, case .warned(let step, let message) = event { logWarning(message, of: step) }
    }

    func end(_ outcome: Result<ChainID?, UnpackError>) {}
}

/// Progress as lines: one per layer, when it is committed.
struct ProgressLines: ProgressView {
    private var isReceiving = false
    private var starts = [ChainID: ContinuousClock.Instant]()

    mutating func take(_ event: UnpackEvent) {
        switch event {
        case .receiving:
            if !isReceiving { Log.print("receiving the archive") }
            isReceiving = true
        case .planned(let steps, let cached):
            if !cached.isEmpty, cached.count < steps.count {
                Log.print("\(cached.count) of \(steps.count) layers are there already")
            }
        case .waiting(let step): logWait(for: step)
        case .started(let step): starts[step.chainID] = .now
        case .warned(let step, let message): logWarning(message, of: step)
        case .committed(let step):
            let elapsed = starts.removeValue(forKey: step.chainID).map { ContinuousClock.now - $0 }
            let seconds = tenths((elapsed ?? .zero) / .seconds(1))
            Log.print("\(step.name): \(decimalSize(step.descriptor.size)) in \(seconds) s")
        case .progressed, .syncing, .read: break
        }
    }

    func end(_ outcome: Result<ChainID?, UnpackError>) {}
}

func logWarning(_ message: String, of step: LayerStep) {
    let text = "\(step.name): \(message)"
    Log.print(LogLine(level: .warning, message: text), lines: ["unpack: warning: \(text)"])
}

func logWait(for step: LayerStep) { Log.print("\(step.name): waiting for another process that unpacks it") }
